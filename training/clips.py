"""Clips for the sequence stage: genuine ones, and fakes of each kind made of them, degraded alike."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Box
from preprocess.crops import crop_square
from training.corruptions import draw
from training.errors import EmptyClassError
from training.fakes.blend import Picture, self_blend, swap
from training.fakes.temporal import MAKERS
from training.pairs import MIN_FACE_PX
from training.shards import Record

ClipKind = Literal["self_blend", "part_blend", "swap", "jitter", "flicker", "frozen", "recoded"]
FRAME_KINDS: tuple[ClipKind, ...] = ("self_blend", "part_blend", "swap")
"""What is wrong in every frame. Self-blended are whole faces, as published; of the part-blended only mouth, eyes or lower face."""
TEMPORAL_KINDS: tuple[ClipKind, ...] = ("jitter", "flicker", "frozen", "recoded")
MIN_VIDEO_FACES = 8
"""Faces that a video must have to be a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPair:
    """A genuine clip and a fake made of it: pictures with their surroundings, before cropping."""

    real: list[Picture]
    fake: list[Picture]
    boxes: list[Box]
    kind: ClipKind
    identity: str
    source: str
    split: str


@dataclass(frozen=True, slots=True)
class _Frames:
    pictures: list[Picture]
    meshes: list[NDArray[np.float32]]
    boxes: list[Box]
    record: Record


class ClipMaker:
    """Makes clips from the genuine records of one split: videos as they are, photographs seen by a moving camera.

    Raises:
        EmptyClassError: There are no genuine pictures, or no photographs and no video with enough faces.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        genuine = [record for record in records if record.label == "real"]
        if not genuine:
            raise EmptyClassError(f"of {len(records)} pictures none is real; clips are made of real ones: add some")
        self.photographs = [record for record in genuine if not record.from_video]
        by_source: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
        for record in genuine:
            if record.from_video:
                # Files of the same name lie in several folders.
                by_source[record.dataset, record.identity, record.source].append(record)
        self.videos = [frames for frames in by_source.values() if len(frames) >= MIN_VIDEO_FACES]
        if not self.photographs and not self.videos:
            raise EmptyClassError(
                f"{len(by_source)} videos, none with {MIN_VIDEO_FACES} faces, and no photograph; clips need one of them: collect more "
                f"frames of each video (--frames {MIN_VIDEO_FACES} or more)"
            )

    def makeable(self, kinds: Sequence[ClipKind]) -> tuple[ClipKind, ...]:
        """The kinds that these records can show: a frozen face is a genuine one where nothing moves, as in photographs."""
        return tuple(kind for kind in kinds if kind != "frozen" or self.videos)

    def make(self, kind: ClipKind, frames: int, rng: np.random.Generator, *, severity: float) -> ClipPair:
        """One pair of clips of at most ``frames`` frames.

        ``frozen`` needs a face that moves, so it is made of videos, see ``makeable``.
        """
        share = 1.0 if kind == "frozen" else 0.3
        use_video = bool(self.videos) and (not self.photographs or rng.random() < share)
        base = self._video(frames, rng) if use_video else self._photograph(frames, rng)
        fake = self._fake(kind, base, rng)
        after = draw(rng, severity=severity, min_scale=MIN_FACE_PX / base.boxes[0].side)
        # Self-blending may change the background: then the genuine clip is that background.
        real_before, fake_before = fake
        real, changed = after.apply_clip(real_before), after.apply_clip(fake_before)
        ratio = real[0].shape[1] / base.pictures[0].shape[1]
        boxes = [Box(*(value * ratio for value in box)) for box in base.boxes]
        record = base.record
        return ClipPair(
            real=real, fake=changed, boxes=boxes, kind=kind, identity=record.identity, source=record.source, split=record.split
        )

    def _fake(self, kind: ClipKind, base: _Frames, rng: np.random.Generator) -> tuple[list[Picture], list[Picture]]:
        seed = int(rng.integers(2**31))
        if kind in ("self_blend", "part_blend"):
            share = 1.0 if kind == "part_blend" else 0.0
            # The same draws in each frame: one manipulation, seen throughout.
            pairs = [
                self_blend(p, m, np.random.default_rng(seed), part_share=share)
                for p, m in zip(base.pictures, base.meshes, strict=True)
            ]
        elif kind == "swap":
            donor = self._donor(base.record.identity, rng)
            picture = donor.picture()
            pairs = [
                swap(p, m, picture, donor.points_px, np.random.default_rng(seed))
                for p, m in zip(base.pictures, base.meshes, strict=True)
            ]
        else:
            return base.pictures, MAKERS[kind](base.pictures, base.meshes, seed)
        return [pair.real for pair in pairs], [pair.fake for pair in pairs]

    def _donor(self, identity: str, rng: np.random.Generator) -> Record:
        pool = self.photographs or [frames[0] for frames in self.videos]
        drawn = [pool[int(i)] for i in rng.integers(0, len(pool), 24)]
        # Where nearly all are of one person, a draw may miss the few others.
        for record in (*drawn, *pool):
            if record.identity != identity:
                return record
        raise EmptyClassError(f"nobody but {identity} is among the real pictures; a swap needs two people: add some")

    def _video(self, frames: int, rng: np.random.Generator) -> _Frames:
        records = self.videos[int(rng.integers(len(self.videos)))]
        count = min(frames, len(records))
        start = int(rng.integers(0, len(records) - count + 1))
        part = records[start : start + count]
        pictures = [record.picture() for record in part]
        boxes, meshes = [record.box for record in part], [record.points_px for record in part]
        if rng.random() < 0.5:
            width = pictures[0].shape[1]
            pictures = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
            boxes = [Box(width - box.x1, box.y0, width - box.x0, box.y1) for box in boxes]
            meshes = [(mesh * np.array([-1, 1]) + np.array([width - 1, 0])).astype(np.float32) for mesh in meshes]
        return _Frames(pictures, meshes, boxes, part[0])

    def _photograph(self, frames: int, rng: np.random.Generator) -> _Frames:
        record = self.photographs[int(rng.integers(len(self.photographs)))]
        return camera_motion(record, frames, rng)


def camera_motion(record: Record, frames: int, rng: np.random.Generator) -> _Frames:
    """A photograph as a hand-held camera sees it: slow pan, zoom and roll, a little shake."""
    import cv2

    picture, box = record.picture(), record.box
    height, width = picture.shape[:2]
    phases, speeds = rng.uniform(0, 2 * math.pi, 5), rng.uniform(0.1, 0.7, 5)
    reach = box.side * rng.uniform(0.01, 0.05)
    pictures, meshes, boxes = [], [], []
    for time in range(frames):
        wave = np.sin(phases + speeds * time)
        zoom, roll = 1.06 + 0.03 * wave[0], 0.03 * wave[1]
        shift = reach * wave[2:4] + rng.normal(0, 0.004 * box.side, 2)
        a, b = zoom * math.cos(roll), zoom * math.sin(roll)
        x, y = box.centre
        matrix = np.array([[a, -b, x - a * x + b * y + shift[0]], [b, a, y - b * x - a * y + shift[1]]])
        seen = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        light = 1 + 0.02 * wave[4]
        noise = rng.normal(0, 1.0, seen.shape).astype(np.float32)
        pictures.append((seen * np.float32(light) + noise).clip(0, 255).astype(np.uint8))
        meshes.append((record.points_px @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32))
        centre = matrix[:, :2] @ np.array(box.centre) + matrix[:, 2]
        half = box.side * zoom / 2
        boxes.append(Box(centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half))
    return _Frames(pictures, meshes, boxes, record)


def crops_of(
    pictures: Sequence[Picture], boxes: Sequence[Box], rng: np.random.Generator, *, size_px: int, margin: float
) -> NDArray[np.uint8]:
    """What the network is shown of a clip, (T, P, P, 3) uint8 RGB, the detector's own trembling included."""
    crops = []
    for picture, box in zip(pictures, boxes, strict=True):
        moved = box.moved(*(rng.normal(0, 0.012, 2) * box.side))
        crops.append(crop_square(picture, moved, size_px=size_px, margin=margin))
    return np.stack(crops)
