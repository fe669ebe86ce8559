"""Puts finished models into a repository and takes them out, so that whoever opens it at any moment finds whole detectors.

What is made is made in a folder on the repository's own file system and moved in with one rename(2) a model; where there is an older one,
the two change places in one step (renameat2(2), RENAME_EXCHANGE). A process that is killed between two of them leaves models that
nothing uses, and those the next export sweeps up.
"""

import contextlib
import ctypes
import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from export import contents
from export.errors import RepositoryError

logger = logging.getLogger("unmask.export")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_HASHED = re.compile(r".+_[0-9a-f]{12}")
"""Names that this package gives to models which are not the default detector's."""


@contextlib.contextmanager
def staging_for(repository: Path) -> Iterator[Path]:
    """A folder to make models in, removed at the end; the caller holds the repository's lock."""
    staging = _beside(repository, "staging")
    shutil.rmtree(staging, ignore_errors=True)  # of an export that was killed: this one holds the lock
    try:
        staging.mkdir()
    except OSError as error:
        raise RepositoryError(
            f"cannot write beside {repository}: {error.strerror}; choose another with --repository"
        ) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def swap_in(new: Path, old: Path) -> None:
    """Moves a finished model into its place. An older one comes to where the new one was; called again, it undoes itself."""
    if not old.exists():
        new.rename(old)
    elif not new.exists():
        old.rename(new)
    else:
        _exchange(new, old)


def delete_models(repository: Path, models: tuple[str, ...]) -> None:
    """Takes models' folders away, those that are there, in this order."""
    trash = _beside(repository, "trash")
    for model in models:
        # Renamed first: a folder that is being deleted must not look like a model.
        shutil.rmtree(trash, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (repository / model).rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def sweep(repository: Path, *prefixes: str) -> None:
    """Takes away composing models that an export which was killed left, and that no detector is made of."""
    used = {model for installed in contents.detectors(repository) for model in installed.models}
    left = tuple(
        name
        for prefix in prefixes
        for name, _ in contents.models_with(repository, f"{prefix}_")
        if name not in used and _HASHED.fullmatch(name)
    )
    if left:
        logger.info("swept up %s, of an export that did not come to its end", ", ".join(left))
    delete_models(repository, left)


def share(source: str | Path, target: str | Path) -> None:
    """The same file under a second name; a copy where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _beside(repository: Path, purpose: str) -> Path:
    """A folder that no server takes for a model, on the repository's file system.

    Beside the repository; inside where that is another file system, because the repository is a mounted volume. Each repository has its
    own, by its whole name: two exports to two repositories side by side must not sweep up each other's.
    """
    real = repository.resolve()
    if real.stat().st_dev == real.parent.stat().st_dev and os.access(real.parent, os.W_OK):
        return real.with_name(f".{real.name}.{purpose}")
    return real / f".{purpose}"


def _exchange(one: Path, other: Path) -> None:
    """Two folders change places in one step; in three, and with a moment without the second, where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = errno.ENOSYS
    if hasattr(libc, "renameat2"):  # glibc from 2.28 on
        if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
    if number not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(number, os.strerror(number), str(other))
    aside = one.with_name(f"{one.name}.aside")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)
