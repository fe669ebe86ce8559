"""Who may touch a repository: one export at a time, and nobody replaces in place what a server runs on.

Both are flock(2) locks, which the kernel drops when their holder ends, however it ends. The embedded server holds a shared one on
the repository's folder itself (``serving.launcher``), for which not even a read-only repository has to be written to.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from export.errors import RepositoryBusy, RepositoryError

LOCK_FILE = ".export.lock"


@contextlib.contextmanager
def exporting(repository: Path) -> Iterator[None]:
    """Holds the repository for one export.

    Raises:
        RepositoryBusy: Another export has it.
        RepositoryError: It cannot be written.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        handle = os.open(repository / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RepositoryError(f"cannot write to {repository}: {error.strerror}; choose another with --repository") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise RepositoryBusy(
                f"another export (process {holder}) is writing to {repository}; wait until it is done"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(repository: Path) -> Iterator[None]:
    """Keeps servers from starting while models are replaced in place.

    Raises:
        RepositoryBusy: A server runs on the repository.
    """
    handle = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepositoryBusy(
                f"a server runs on {repository}, and this would replace or remove what it serves; give its address with --url, so "
                "that it changes over without a gap, or stop it first"
            ) from None
        yield
    finally:
        os.close(handle)
