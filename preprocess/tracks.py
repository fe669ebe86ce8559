"""Which faces of different frames are one person: overlap and motion, and a cut ends everything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Box, iou

MIN_IOU = 0.15
"""Least overlap with where the face is expected."""
MAX_SHIFT = 0.9
"""Without overlap: farthest centre, in multiples of the mean side of both boxes."""
MAX_SIZE_RATIO = 2.0
"""A face does not grow or shrink more than this between two sampled frames."""
MAX_GAP_S = 2.0
"""A face unseen for longer than this and for more than ``MAX_GAP_FRAMES`` sampled frames is a new track when it comes back."""
MAX_GAP_FRAMES = 3
MAX_EXTRAPOLATION_S = 0.5
"""Motion is believed for so long; sparse samples say little about velocity."""
CUT_DISTANCE = 0.62
"""Hellinger distance between colour histograms of successive sampled frames from which they are different shots."""


@dataclass(slots=True)
class Track:
    """One face through the file; ``key`` counts from 0 in order of appearance."""

    key: int
    box: Box
    time_s: float
    step: int
    velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels a second."""
    seen: int = field(default=1)

    def predicted(self, time_s: float) -> Box:
        """Where the face should be."""
        ahead_s = min(time_s - self.time_s, MAX_EXTRAPOLATION_S)
        return self.box.moved(self.velocity[0] * ahead_s, self.velocity[1] * ahead_s)

    def follow(self, box: Box, time_s: float, step: int) -> None:
        """Takes the next sighting."""
        passed_s = time_s - self.time_s
        if 0 < passed_s <= MAX_EXTRAPOLATION_S:
            (x0, y0), (x1, y1) = self.box.centre, box.centre
            self.velocity = ((x1 - x0) / passed_s, (y1 - y0) / passed_s)
        else:
            self.velocity = (0.0, 0.0)
        self.box, self.time_s, self.step = box, time_s, step
        self.seen += 1


class Tracker:
    """Follows faces through sampled frames in order of time."""

    def __init__(self) -> None:
        self._active: list[Track] = []
        self._count = 0
        self._step = -1

    def expected(self, time_s: float) -> list[Box]:
        """Where faces seen in the last sampled frame should be at ``time_s``."""
        return [track.predicted(time_s) for track in self._active if track.step == self._step]

    def cut(self) -> None:
        """The shot ends; no track goes on."""
        self._active.clear()

    def update(self, boxes: Sequence[Box], time_s: float) -> list[int]:
        """Takes the faces of the next sampled frame; returns the track's key for each."""
        self._step += 1
        self._active = [
            track for track in self._active if time_s - track.time_s <= MAX_GAP_S or self._step - track.step <= MAX_GAP_FRAMES
        ]
        pairs = [
            (affinity, track_at, box_at)
            for track_at, track in enumerate(self._active)
            for box_at, box in enumerate(boxes)
            if (affinity := _affinity(track, box, time_s)) is not None
        ]
        keys: list[int | None] = [None] * len(boxes)
        taken: set[int] = set()
        for _, track_at, box_at in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if track_at in taken or keys[box_at] is not None:
                continue
            taken.add(track_at)
            keys[box_at] = self._active[track_at].key
            self._active[track_at].follow(boxes[box_at], time_s, self._step)
        return [self._begin(box, time_s) if key is None else key for key, box in zip(keys, boxes, strict=True)]

    def _begin(self, box: Box, time_s: float) -> int:
        self._active.append(Track(self._count, box, time_s, self._step))
        self._count += 1
        return self._count - 1


def _affinity(track: Track, box: Box, time_s: float) -> float | None:
    """How well a box continues a track, higher is better; None: it does not."""
    ratio = box.side / track.box.side if track.box.side > 0 else math.inf
    if not 1 / MAX_SIZE_RATIO <= ratio <= MAX_SIZE_RATIO:
        return None
    predicted = track.predicted(time_s)
    overlap = max(iou(predicted, box), iou(track.box, box))
    (x0, y0), (x1, y1) = predicted.centre, box.centre
    shift = math.hypot(x1 - x0, y1 - y0) / max(1e-6, (track.box.side + box.side) / 2)
    if overlap < MIN_IOU and shift > MAX_SHIFT:
        return None
    return overlap - 0.1 * shift


class CutFinder:
    """Tells a cut from motion by the colours of the whole picture."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None

    def is_cut(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether this frame, (H, W, 3) uint8 RGB, is of another shot than the one given before."""
        distance = self.distance(rgb)
        return distance is not None and distance > CUT_DISTANCE

    def distance(self, rgb: NDArray[np.uint8]) -> float | None:
        """Hellinger distance in [0, 1] to the frame given before; None for the first."""
        import cv2

        thumb = cv2.resize(rgb, (64, 36), interpolation=cv2.INTER_LINEAR)
        histogram = cv2.calcHist([thumb], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).ravel()
        histogram = np.sqrt(histogram / histogram.sum()).astype(np.float32)
        before, self._before = self._before, histogram
        if before is None:
            return None
        return math.sqrt(max(0.0, 1.0 - float(before @ histogram)))
