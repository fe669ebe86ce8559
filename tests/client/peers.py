"""Peers on a socket that are no inference server: what a wrong port, a broken proxy or an attacker would answer."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Behaviour = Callable[[socket.socket], None]


@contextlib.contextmanager
def peer(behaviour: Behaviour) -> Iterator[int]:
    """A port on which every connection is handed to ``behaviour`` and then closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            behaviour(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # close() alone leaves accept() and recv() waiting.
        for sock in (listener, *open_connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        thread.join(timeout=5)


def silent(connection: socket.socket) -> None:
    """Reads and says nothing."""
    while connection.recv(65536):
        pass


def hang_up(connection: socket.socket) -> None:
    """Closes after the first bytes."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """Answers a byte every 50 ms for ever: each byte resets a time-out that counts from the last one."""
    connection.recv(65536)
    stop = threading.Event()
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        stop.wait(0.05)


def answers(response: bytes) -> Behaviour:
    """Answers every request with the same bytes."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(response)
        connection.shutdown(socket.SHUT_WR)
        # To close with bytes unread would reset the connection, and the peer might lose the answer.
        while connection.recv(65536):
            pass

    return behave


def http(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """An HTTP response; ``length`` may lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body
