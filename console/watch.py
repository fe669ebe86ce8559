"""Tells waiting requests that an analysis has changed. One query for all of them, however many wait."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from console.bell import Bell
from console.errors import TooManyStreams
from console.store import Store

logger = logging.getLogger(__name__)


class Watcher:
    """Belongs to one event loop."""

    def __init__(self, store: Store, bell: Bell, *, poll_s: float, max_watching: int) -> None:
        self._store = store
        self._bell = bell
        self._news = asyncio.Event()
        self._listening: asyncio.AbstractEventLoop | None = None
        self._poll_s = poll_s
        self._max_watching = max_watching
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._patient: set[asyncio.Event] = set()
        self._seen: dict[str, int | None] = {}
        self._task: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()

    @property
    def watching(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def changes(self, analysis_id: str, *, end_only: bool = False) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the analysis has changed, or only when it has ended, or is gone; clear it before looking.

        Raises:
            TooManyStreams: So many wait already.
        """
        if self.watching >= self._max_watching:
            raise TooManyStreams(
                f"{self._max_watching} requests wait for news already, the limit (UNMASK_CONSOLE_MAX_EVENT_STREAMS); "
                "ask for the analysis now and then instead",
                retry_after_s=5,
            )
        if self._listening is None:
            self._listening = asyncio.get_running_loop()
            self._listening.add_reader(self._bell.fileno(), self._rung)
        event = asyncio.Event()
        self._waiting.setdefault(analysis_id, set()).add(event)
        if end_only:
            self._patient.add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield event
        finally:
            self._patient.discard(event)
            self._waiting[analysis_id].discard(event)
            if not self._waiting[analysis_id]:
                del self._waiting[analysis_id]
                self._seen.pop(analysis_id, None)

    def _rung(self) -> None:
        self._bell.hush()
        self._news.set()

    async def _poll(self) -> None:
        while self._waiting:
            self._news.clear()
            ids = list(self._waiting)
            try:
                found = await run_in_threadpool(self._store.revisions, ids)
            except Exception:  # the database may be away for a moment; those who wait have their own time limits
                logger.exception("cannot look for news")
                await asyncio.sleep(1.0)
                continue
            for item in ids:
                revision, state = found.get(item, (None, None))
                if item not in self._seen or self._seen[item] != revision:
                    self._seen[item] = revision
                    busy = state in ("queued", "running")
                    for event in self._waiting.get(item, ()):
                        if not (busy and event in self._patient):
                            event.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._news.wait()

    def close(self) -> None:
        """Wakes everybody up for the last time."""
        self.closing.set()
        for events in self._waiting.values():
            for event in events:
                event.set()
        if self._task is not None:
            self._task.cancel()
        if self._listening is not None:
            self._listening.remove_reader(self._bell.fileno())
            self._listening = None
        self._bell.close()
