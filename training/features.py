"""Features of clips, kept in a run's folder: encoding them costs more than fitting the head."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.files import written_whole
from training.errors import CheckpointError, CheckpointWriteError
from training.fit_clips import FeatureClip
from training.shards import Record


def made_of(encoder: nn.Module, records: Sequence[Record], *settings: object) -> str:
    """What features depend on, as a SHA-256: the encoder's weights, the pictures, the settings."""
    digest = sha256(repr(settings).encode())
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for record in records:
        digest.update(f"{record.source} {record.label} {len(record.encoded)} {record.box_px}".encode())
    return digest.hexdigest()


def kept_features(path: Path, origin: str, make: Callable[[], list[FeatureClip]]) -> list[FeatureClip]:
    """Features that were made of the same before; made anew where the encoder (a run that was given more phases), the pictures or
    the settings are others by now: the head and the thresholds would fit a network that is no more.

    Args:
        origin: See ``made_of``.

    Raises:
        CheckpointError: They cannot be read or written.
    """
    if not path.exists() or str(_arrays(path).get("made_of", "")) != origin:
        write_features(path, make(), origin=origin)
    return read_features(path)


def write_features(path: Path, clips: Sequence[FeatureClip], *, origin: str = "") -> None:
    """Keeps feature clips (fp16); the file appears whole or not at all.

    Raises:
        CheckpointWriteError
    """
    ends = np.cumsum([len(clip.features) for clip in clips])
    try:
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez(
                file, features=np.concatenate([clip.features for clip in clips]).astype(np.float16), ends=ends,
                labels=np.array([clip.label for clip in clips]), kinds=np.array([clip.kind for clip in clips]),
                identities=np.array([clip.identity for clip in clips]), pairs=np.array([clip.pair for clip in clips]),
                made_of=np.array(origin),
            )  # fmt: skip
    except OSError as error:
        raise CheckpointWriteError(f"{path} cannot be written: {error.strerror or error}; free some room and resume") from error


def read_features(path: Path) -> list[FeatureClip]:
    """Reads what ``write_features`` wrote.

    Raises:
        CheckpointError: It is damaged.
    """
    arrays = _arrays(path)
    parts = np.split(arrays["features"].astype(np.float32), arrays["ends"][:-1])
    facts = zip(
        parts,
        arrays["labels"].tolist(),
        arrays["kinds"].tolist(),
        arrays["identities"].tolist(),
        arrays["pairs"].tolist(),
        strict=True,
    )
    return [
        FeatureClip(features=f, label=label, kind=kind, identity=identity, pair=pair)
        for f, label, kind, identity, pair in facts
    ]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read as features of clips: {error}; delete it and resume") from error
