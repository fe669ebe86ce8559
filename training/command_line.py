"""What ``unmask train`` and ``unmask evaluate`` share: data lists, exit codes, progress."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from training.manifest import Item

EXIT_INPUT = 1
EXIT_SERVER = 3

FOLDER = click.Path(file_okay=False, path_type=Path)
DATA_HELP = "KIND:PATH, KIND one of faceforensics, celeb_df, dfdc, table, folders, manifest. May be given several times."


def log_to_stderr(verbose: bool) -> None:
    """Logging of a command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def fail(command: str, error: Exception, code: int = EXIT_INPUT) -> NoReturn:
    """Says what went wrong and ends the program."""
    click.echo(f"unmask {command}: {error}", err=True)
    sys.exit(code)


def check_device(device: str) -> None:
    """Refuses a device that PyTorch does not find here.

    Raises:
        click.UsageError
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise click.UsageError(
            f"--device is {device!r}; it must be cpu or cuda (of several GPUs, CUDA_VISIBLE_DEVICES names one)"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")


def read_items(data: Sequence[str], root: Path | None = None) -> "list[Item]":
    """The files that ``--data`` names, checked for leaks; ``root`` is where those of tables lie, if not beside them."""
    from dataclasses import replace

    from training.errors import ManifestError
    from training.manifest import check_leaks, read_manifest
    from training.readers import READERS

    readers = {**READERS, "manifest": read_manifest}
    items: list[Item] = []
    for entry in data:
        kind, _, path = entry.partition(":")
        if kind not in readers or not path:
            raise ManifestError(f"--data is {entry!r}; it must be KIND:PATH with KIND one of {', '.join(readers)}")
        found = readers[kind](Path(path))
        if root and kind in ("table", "manifest"):
            beside = Path(path).parent
            found = [
                replace(item, path=str(root / Path(item.path).relative_to(beside)))
                if Path(item.path).is_relative_to(beside)
                else item
                for item in found
            ]
        items += found
    check_leaks(items)
    return items


class Progress:
    """A bar on stderr where that is a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Any:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
        return self._bar and self._step

    def _step(self, done: int, total: int, loss: float = float("nan")) -> None:
        text = self._name if loss != loss else f"{self._name}, loss {loss:.3f}"
        if self._task is None:
            self._task = self._bar.add_task(text, total=total)
        self._bar.update(self._task, completed=done, description=text)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
