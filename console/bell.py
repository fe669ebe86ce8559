"""Wakes those who wait for news from another process of this machine, so that they need not look for it many times a second.

Each who waits has a FIFO in a folder that all share; whoever has changed something writes a byte into each. A ring may come for nothing
and may be missed by somebody on another machine: what counts is in the database, and everybody looks there now and then anyway.
"""

import contextlib
import errno
import os
import secrets
import select
import socket
from pathlib import Path
from typing import Literal

Kind = Literal["worker", "api"]


class Bells:
    """The folder. Rings are for this machine's processes: a FIFO on a shared disk belongs to the machine that reads it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:64]
        self._names: dict[Kind, str] = {"worker": f"worker.{host}.", "api": f"api.{host}."}

    def ring(self, kind: Kind) -> None:
        """Wakes all of a kind. Never fails: whoever is not reached looks by himself soon."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.name.startswith(self._names[kind]):
                    _write(path)

    def hang(self, kind: Kind) -> "Bell":
        """A bell of this process's own."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Bell(self._folder / f"{self._names[kind]}{os.getpid()}.{secrets.token_hex(4)}")


class Bell:
    """Belongs to one who waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        # For writing, too: a FIFO without a writer reads as ended.
        self._handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """To wait for together with others."""
        return self._handle

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang, before or within this time."""
        rang = bool(select.select([self._handle], [], [], timeout_s)[0])
        if rang:
            self.hush()
        return rang

    def hush(self) -> None:
        """Forgets the rings so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._handle, 4096):
                continue

    def ring(self) -> None:
        """Wakes its own waiter, from another thread."""
        with contextlib.suppress(OSError):
            os.write(self._handle, b"!")

    def close(self) -> None:
        """Takes it down."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def _write(path: Path) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # its reader was killed
            path.unlink(missing_ok=True)
        return
    try:
        with contextlib.suppress(BlockingIOError):  # full: it has rung often enough
            os.write(handle, b"!")
    finally:
        os.close(handle)
