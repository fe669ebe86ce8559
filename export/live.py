"""A running Triton, told of models that came, changed or went through its repository API (model-control-mode explicit)."""

import logging
import time
from types import TracebackType
from typing import Any

from client.endpoint import parse_url
from client.errors import InvalidUrl
from export.errors import LiveError

logger = logging.getLogger("unmask.export")
_POLL_S = 0.1
LOAD_TIMEOUT_S = 600.0
"""A load waits for the model to be ready; TensorRT builds engines meanwhile."""
DRAIN_TIMEOUT_S = 60.0
"""How long requests in flight on an old version may take before its graphs are taken away."""


class LiveServer:
    """The repository API of one server; a context manager.

    Args:
        url: ``host:port`` or ``grpc://`` for gRPC, ``http://`` for HTTP.

    Raises:
        LiveError: The address cannot be read, or the server does not answer.
    """

    def __init__(self, url: str) -> None:
        try:
            endpoint = parse_url(url)
        except InvalidUrl as error:
            raise LiveError(str(error)) from error
        if endpoint.protocol == "grpc":
            import tritonclient.grpc as module
        else:
            import tritonclient.http as module
        self.url = endpoint.url
        self._timeout = {"client_timeout": LOAD_TIMEOUT_S} if endpoint.protocol == "grpc" else {}
        arguments: dict[str, Any] = {"url": endpoint.authority, "ssl": endpoint.secure}
        if endpoint.protocol == "http":
            arguments |= {"network_timeout": LOAD_TIMEOUT_S, "connection_timeout": 10.0}
        self._grpc = endpoint.protocol == "grpc"
        self._client: Any = module.InferenceServerClient(**arguments)
        try:
            if not self._client.is_server_live():
                raise LiveError(f"{self.url} is not live")
        except LiveError:
            raise
        except Exception as error:  # grpc, gevent and urllib3 errors alike
            raise LiveError(f"no server answers at {self.url} ({error}); check the address, or leave --url out") from error

    def load(self, model: str) -> None:
        """Loads or reloads a model, and returns when it is ready.

        Raises:
            LiveError: It does not load; a version that was ready before still is.
        """
        try:
            self._client.load_model(model, **self._timeout)
        except Exception as error:
            raise LiveError(f"{self.url} could not load {model}: {error}") from error

    def unload(self, model: str) -> None:
        """Takes a model out of service and waits until its requests in flight are answered.

        Raises:
            LiveError: The server refuses, or the wait is over.
        """
        try:
            self._client.unload_model(model)
        except Exception as error:
            raise LiveError(f"{self.url} could not unload {model}: {error}") from error
        self.wait_drained(model, keep=None)

    def wait_drained(self, model: str, *, keep: int | None) -> None:
        """Waits until no version of ``model`` but ``keep`` computes.

        Raises:
            LiveError: Some still does after ``DRAIN_TIMEOUT_S``.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            busy = [version for version, state in self.versions(model) if state in ("READY", "UNLOADING") and version != keep]
            if not busy:
                return
            if time.monotonic() > deadline:
                raise LiveError(f"{self.url} still computes with version {busy[0]} of {model} after {DRAIN_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)

    def versions(self, model: str) -> list[tuple[int, str]]:
        """Versions of a model and their states."""
        index = self._client.get_model_repository_index()
        entries = (
            [(entry.name, entry.version, entry.state) for entry in index.models]
            if self._grpc
            else [(entry["name"], entry.get("version", ""), entry.get("state", "")) for entry in index]
        )
        return [(int(version or 0), state) for name, version, state in entries if name == model]

    def close(self) -> None:
        """Lets go of the connection."""
        self._client.close()

    def __enter__(self) -> "LiveServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
