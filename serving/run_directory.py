"""The folder of a running server, and those of servers that were killed together with their guards.

Launcher and guard hold a shared flock(2) on the folder. The kernel lets go when both have ended, however they did, and it knows
processes of other pid namespaces, too (containers that share a /tmp), which a process id in the folder's name would not.
"""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "unmask-run-"
SWEEP_AGE_S = 3600.0
"""Younger folders are let be: between its making and its locking a folder is nobody's, and Triton may survive its guard for a while."""


def make() -> tuple[Path, int]:
    """A new folder, and the file descriptor that holds it; a child process that inherits the descriptor holds it, too."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    hold = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(hold, fcntl.LOCK_SH)
    return folder, hold


def sweep() -> list[Path]:
    """Removes folders of this user that nobody holds and that are older than ``SWEEP_AGE_S``; returns them."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            # O_NOFOLLOW: anybody may put a link into a shared /tmp.
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            facts = os.fstat(handle)
            if facts.st_uid != os.getuid() or time.time() - facts.st_mtime < SWEEP_AGE_S:
                continue
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
        except OSError:
            continue
        finally:
            os.close(handle)
    return removed
