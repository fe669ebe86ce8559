"""What preprocessing hands on: face crops of one track with where and when they were seen, and the file's facts."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What the file says of itself and what decoding found."""

    path: str
    kind: Literal["video", "image"]
    container: str
    """By magic bytes, such as ``mp4`` or ``matroska``."""
    codec: str
    width_px: int
    """After rotation, as a viewer sees it."""
    height_px: int
    rotation_deg: int
    """Clockwise turn that was applied to make the picture upright: 0, 90, 180 or 270. A mirror image is mirrored back, too."""
    fps: float | None
    frame_count: int | None
    """Frames in the file; None where neither the container nor decoding told."""
    duration_s: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A sampled frame that is in no clip, and why."""

    frame_index: int
    timestamp_s: float
    reason: str
    """One of ``preprocess.REASONS``, such as ``no_face`` or ``face_too_small``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Face crops of one track (one person followed through the file), in order of time.

    Raises:
        ValueError: An array's shape or dtype is not the documented one; the message shows it.
    """

    track_id: int
    """0 is the dominant track."""
    frames: NDArray[np.uint8]
    """Crops, (T, H, W, 3) uint8 RGB."""
    timestamps_s: NDArray[np.float64]
    """Presentation times, (T,)."""
    frame_indices: NDArray[np.int64]
    """Positions in presentation order, (T,)."""
    boxes_px: NDArray[np.float32]
    """Face boxes in upright source pixels, (T, 4) as x0, y0, x1, y1."""
    detector_scores: NDArray[np.float32]
    """Face detector's confidence in [0, 1], (T,)."""
    quality: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Measures per frame by name with their unit, each (T,), such as ``face_px``, ``sharpness``, ``exposure``, ``yaw_deg``."""

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames is {self.frames.dtype} {self.frames.shape}; it must be uint8 (T, H, W, 3)")
        count = len(self.frames)
        if count == 0:
            raise ValueError("frames is empty; a clip has at least one frame")
        arrays: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
            "timestamps_s": (self.timestamps_s, (count,)),
            "frame_indices": (self.frame_indices, (count,)),
            "boxes_px": (self.boxes_px, (count, 4)),
            "detector_scores": (self.detector_scores, (count,)),
            **{f"quality[{name!r}]": (array, (count,)) for name, array in self.quality.items()},
        }
        for name, (array, shape) in arrays.items():
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; with {count} frames it must be {shape}")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """Everything that preprocessing learned from one file."""

    source: SourceFacts
    clips: tuple[Clip, ...]
    """One a track, dominant first; empty where no usable face was found."""
    sampled_frame_indices: NDArray[np.int64]
    """Every frame that was looked at, (S,)."""
    sampled_timestamps_s: NDArray[np.float64]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    """For people: what was cut, repeated or limited."""
    stage_s: dict[str, float]
    """Seconds spent by stage: ``decode``, ``detect``, ``crop`` ... and ``total`` (wall)."""
    pictures: dict[int, bytes] = field(default_factory=dict)
    """JPEGs of the sampled frames by frame index, where ``ExtractionOptions.picture_px`` asked for them."""
