"""Checkpoints that are whole or not there, and never replace a good one with a broken one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import written_whole
from training.errors import CheckpointError, CheckpointMismatchError, CheckpointWriteError

LAYOUT = 1


def save(path: Path, state: dict[str, Any], *, settings: dict[str, Any]) -> None:
    """Writes beside the file, flushes to the disk, then renames: a full disk or a kill leaves the checkpoint before.

    Raises:
        CheckpointWriteError
    """
    import torch

    try:
        with written_whole(path) as partial, partial.open("wb") as file:
            torch.save({"layout": LAYOUT, "settings": settings, "state": state}, file)
    # PyTorch's zip writer turns a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        kept = "; the checkpoint before it is untouched" if path.exists() else ""
        raise CheckpointWriteError(f"{path} cannot be written: {error}{kept}; free some room and resume") from error


def load(path: Path, *, settings: dict[str, Any] | None = None, may_differ: Sequence[str] = ()) -> dict[str, Any]:
    """Reads what ``save`` wrote; tensors and plain values only, no pickled code.

    Args:
        settings: What the run has now; a difference is refused, because the result would be neither run's.
        may_differ: Names of settings that the caller compares itself.

    Raises:
        CheckpointError: Not there or damaged.
        CheckpointMismatchError: The run's settings differ; the message lists them.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        layout, saved, state = content["layout"], content["settings"], content["state"]
    except Exception as error:
        # torch.load raises whatever the damaged bytes lead it to.
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}; delete it to start anew") from error
    if layout != LAYOUT:
        raise CheckpointMismatchError(f"{path} has layout {layout}, this version reads {LAYOUT}; train anew")
    differing = (
        {name for name in {*saved, *settings} if saved.get(name) != settings.get(name)} if settings is not None else set()
    )
    if names := sorted(differing.difference(may_differ)):
        assert settings is not None
        differences = ", ".join(f"{name} {saved.get(name)!r} there, {settings.get(name)!r} here" for name in names)
        raise CheckpointMismatchError(f"{path} belongs to another run: {differences}; use its settings, or another folder")
    return dict(state)


def write_text(path: Path, text: str) -> None:
    """Writes a small file, whole or not at all.

    Raises:
        CheckpointWriteError
    """
    try:
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointWriteError(f"{path} cannot be written: {error}; free some room and resume") from error


def weights_of_run(path: Path) -> dict[str, Any] | None:
    """The weights, moving average first, in a checkpoint that ``save`` wrote; None for any other file."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content["state"]
        return dict(state.get("average") or state["model"]) if content["layout"] == LAYOUT else None
    except Exception:
        # Not one of these: who asks reads other layouts, too, and says what is wrong with them.
        return None
