"""Faces with their surroundings, cached: what detection costs is paid once, and training reads one file.

A shard is a ``.npz`` of encoded pictures (the photograph's own JPEG bytes, or PNG of a video frame) with the detector's box
and the mesh points of each. What the network sees is cut from them by ``preprocess.crops.crop_square``, the very code that
serves.
"""

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.files import written_whole
from preprocess.boxes import Box
from training.errors import PictureError, ShardError

LAYOUT = 1
PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))
_TEXTS = ("identity", "source", "split", "label", "dataset", "method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One picture of one face."""

    encoded: bytes
    """JPEG or PNG."""
    box_px: tuple[float, float, float, float]
    """The detector's box in the picture: x0, y0, x1, y1."""
    points_px: NDArray[np.float32]
    """(478, 2) face-mesh points x, y in the picture."""
    identity: str
    source: str
    """File that the picture comes from."""
    split: str
    label: str
    """``real`` or ``fake``."""
    dataset: str
    method: str = ""
    """How a fake was made; empty for real ones."""
    native_face_px: float
    """Longer side of the face's box where it was found, before any scaling into this picture."""

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB.

        Raises:
            PictureError: The bytes are no picture.
        """
        return decode_picture(self.encoded, self.source)

    @property
    def from_video(self) -> bool:
        """Whether the source is a video, whose other frames are records, too; else it is a photograph."""
        return Path(self.source).suffix.lower() not in PICTURE_SUFFIXES

    @property
    def box(self) -> Box:
        """``box_px`` with its geometry."""
        return Box(*self.box_px)


def decode_picture(encoded: bytes, name: str) -> NDArray[np.uint8]:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB.

    Raises:
        PictureError: The bytes are no picture.
    """
    import cv2

    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    if bgr is None:
        raise PictureError(
            f"{name} cannot be decoded as a picture ({len(encoded)} bytes); remove it from the data or copy it again"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def write_shard(path: Path, records: Sequence[Record]) -> Path:
    """Writes records into one file; the file appears whole or not at all.

    Raises:
        ShardError: There is nothing to write, or no room.
    """
    if not records:
        raise ShardError(f"no records for {path}; a shard has at least one")
    lengths = np.array([len(record.encoded) for record in records], np.int64)
    arrays: dict[str, NDArray[np.generic]] = {
        "layout": np.array(LAYOUT),
        "bytes": np.frombuffer(b"".join(record.encoded for record in records), np.uint8),
        "ends": np.cumsum(lengths),
        "boxes_px": np.array([record.box_px for record in records], np.float32),
        "points_px": np.stack([record.points_px for record in records]).astype(np.float32),
        "native_face_px": np.array([record.native_face_px for record in records], np.float32),
    }
    for name in _TEXTS:
        arrays[name] = np.array([getattr(record, name) for record in records], np.str_)
    try:
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise ShardError(
            f"{path} cannot be written: {error.strerror or error}; free some room or name another folder"
        ) from error
    return path


def read_shards(paths: Iterable[Path]) -> list[Record]:
    """All records of some shards, in order.

    Raises:
        ShardError: A file is missing, damaged or of another layout.
    """
    records: list[Record] = []
    for path in paths:
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                layout = int(file["layout"])
                if layout != LAYOUT:
                    raise ShardError(f"{path} has layout {layout}, this version reads {LAYOUT}; build the shards again")
                arrays = {name: file[name] for name in file.files}
        # NumPy raises EOFError for an empty file, and takes an array for a file of arrays.
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise ShardError(f"{path} cannot be read as a shard: {error}; build the shards again") from error
        data = arrays["bytes"].tobytes()
        starts = np.concatenate([[0], arrays["ends"][:-1]])
        for index, (start, end) in enumerate(zip(starts.tolist(), arrays["ends"].tolist(), strict=True)):
            x0, y0, x1, y1 = arrays["boxes_px"][index].tolist()
            records.append(
                Record(
                    encoded=data[start:end],
                    box_px=(x0, y0, x1, y1),
                    points_px=arrays["points_px"][index],
                    native_face_px=float(arrays["native_face_px"][index]),
                    **{name: str(arrays[name][index]) for name in _TEXTS},
                )
            )
    return records
