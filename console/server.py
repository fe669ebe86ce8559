"""The API process: ``python -m console.server``. Settings come from the environment; it ends when its standard input closes."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from console.app import create_app
from console.settings import ConsoleSettings

logger = logging.getLogger("unmask.console")
_LINGER_S = 5.0
_HEADER_BYTES = 32 * 1024


class PatientOnlySoLong(H11Protocol):
    """uvicorn's protocol with two clocks it lacks: one for a request's head (slow loris), and one for the rest of a body that was
    refused: uvicorn reads and drops it for as long as it comes."""

    header_timeout_s = 10.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.header_timeout_s, self._late)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self.conn.their_state is h11.IDLE:
            self._head_timer = self.loop.call_later(self.header_timeout_s, self._late)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread and not self.transport.is_closing():
            # Closing at once would reset the connection, and the sender might never read why.
            self.loop.call_later(_LINGER_S, self._end_if_unread, self.cycle)

    def _end_if_unread(self, cycle: Any) -> None:
        if self.cycle is cycle and not self.transport.is_closing():
            self.transport.close()

    def _late(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def make_server(settings: ConsoleSettings) -> uvicorn.Server:
    """A server that is ready to run."""

    class Protocol(PatientOnlySoLong):
        header_timeout_s = settings.header_timeout_s

    config = uvicorn.Config(
        create_app(settings),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level=os.environ.get("UNMASK_LOG_LEVEL", "warning").lower(),
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        # Whoever sits in front is not believed about addresses: forwarded requests need a key anyway.
        proxy_headers=False,
    )
    return uvicorn.Server(config)


def main() -> int:
    """Entry point. The only argument is the descriptor of a listening socket."""
    logging.basicConfig(level=os.environ.get("UNMASK_LOG_LEVEL", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    settings = ConsoleSettings()
    server = make_server(settings)

    def wait_for_parent() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                continue
        server.should_exit = True

    threading.Thread(target=wait_for_parent, daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[1]))
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
