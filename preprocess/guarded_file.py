"""An open file as a decoder sees it: no more than its first size, and proof that it did not change meanwhile."""

import os
from typing import BinaryIO

from preprocess.errors import FileChangedError


class GuardedFile:
    """The file as FFmpeg sees it: bytes up to the size that it had when it was opened, and proof that it did not change."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._before = os.fstat(stream.fileno())
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        """Bytes from the position; empty at the end."""
        left = self._before.st_size - self._position
        data = self._stream.read(left if count < 0 else min(count, left)) if left > 0 else b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As io.IOBase.seek."""
        base = (0, self._position, self._before.st_size)[whence]
        self._position = self._stream.seek(min(max(base + offset, 0), self._before.st_size))
        return self._position

    def tell(self) -> int:
        """As io.IOBase.tell."""
        return self._position

    def check(self) -> None:
        """Raises:
        FileChangedError: Size or modification time are not what they were.
        """
        now = os.fstat(self._stream.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise FileChangedError(
                f"{self._name} changed while it was read ({self._before.st_size} bytes before, {now.st_size} now); "
                "wait until it is complete"
            )
