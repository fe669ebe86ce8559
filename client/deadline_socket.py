"""A socket under ``http.client`` that keeps one deadline for everything that is sent and received.

A socket's own timeout starts anew with every byte: a server that sends one a second would never time out.
"""

import io
import selectors
import socket
from typing import Any

from client.transport import Deadline


class DeadlineSocket:
    """What ``http.client`` uses of a socket; ``deadline`` is set before each request."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self.deadline = deadline

    def sendall(self, data: Any) -> None:
        """Sends a bytes-like object whole.

        Raises:
            DeadlineExceeded: Not within the deadline.
        """
        view = memoryview(data).cast("B")
        while view:
            self._sock.settimeout(self.deadline.remaining_s())
            try:
                view = view[self._sock.send(view) :]
            except TimeoutError:
                raise self.deadline.exceeded() from None

    def receive_into(self, buffer: Any) -> int:
        """Receives at least a byte; 0 at the end of the stream.

        Raises:
            DeadlineExceeded: Not within the deadline.
        """
        self._sock.settimeout(self.deadline.remaining_s())
        try:
            return self._sock.recv_into(buffer)
        except TimeoutError:
            raise self.deadline.exceeded() from None

    def dropped(self) -> bool:
        """Of a connection on which nothing is under way: the other side closed it, or speaks out of turn."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            return bool(selector.select(timeout=0))

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002
        """The reading end that ``http.client.HTTPResponse`` asks for."""
        return io.BufferedReader(_Reader(self), 65536)

    def close(self) -> None:
        """Closes the connection."""
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: DeadlineSocket) -> None:
        self._source = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(buffer)
