"""Figures for Prometheus. The queue is counted when it is asked for: several API processes then say the same."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.jobs import JobQueue
from console.store import Store

_STATES = ("queued", "running", "done", "failed")
_LABELS = ("FAKE", "REAL", "UNCERTAIN", "NOT_EVALUATED")


class Metrics:
    """The process's registry."""

    def __init__(self, store: Store, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "unmask_console_requests", "Requests by route and status.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "unmask_console_request_seconds", "Time to the end of the answer, event streams left out.", ("route",),
            registry=self.registry,
        )  # fmt: skip
        self.uploaded = Counter("unmask_console_uploaded_bytes", "Bytes of accepted files.", registry=self.registry)
        self.registry.register(_Queue(store, queue))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _Queue(Collector):
    def __init__(self, store: Store, queue: JobQueue) -> None:
        self._store = store
        self._queue = queue

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # so that registering does not ask the database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = self._store.counts()
        states = GaugeMetricFamily("unmask_console_analyses", "Analyses that are kept, by state.", labels=["state"])
        for state in _STATES:
            states.add_metric([state], counts.get(state, 0))
        yield states
        labels = GaugeMetricFamily("unmask_console_verdicts", "Verdicts that are kept, by label.", labels=["label"])
        for label in _LABELS:
            labels.add_metric([label], counts.get(label, 0))
        yield labels
        yield GaugeMetricFamily("unmask_console_workers", "Workers that are alive.", value=self._queue.alive_workers())


class MeasureRequests:
    """Middleware; a route's template is its name, so that ids do not make a time series each."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            services = getattr(scope["app"].state, "services", None)
            if services is not None:
                route = getattr(scope.get("route"), "path", "none")
                metrics = services.metrics
                metrics.requests.labels(scope["method"] if route != "none" else "none", route, status).inc()
                if not route.endswith("/events"):
                    metrics.seconds.labels(route).observe(time.perf_counter() - started)
