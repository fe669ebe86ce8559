"""Pairs for the frame stage: a real crop and the fake made of it, degraded alike.

Each sample is made of its own seed (run's seed, step, place in the batch), so a run that is resumed sees what one that was not
stopped sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Box
from preprocess.crops import crop_square
from training.corruptions import Corruption, draw
from training.errors import EmptyClassError
from training.fakes.blend import Pair, self_blend, swap
from training.shards import Record

MIN_FACE_PX = 24.0
"""Smallest face (box's longer side) that degradation leaves: the smallest that ``preprocess`` takes at its defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropPair:
    """What the network is shown of one pair."""

    crops: NDArray[np.uint8]
    """(2, P, P, 3): real, fake."""
    mask: NDArray[np.float32]
    """(P, P): the share of the foreign picture in the fake."""
    visible: float
    """Mean difference between fake and real inside the mask, in steps of 255: what degradation left of the traces."""
    face_px: float
    """Longer side of the face's box before the crop."""
    quality_cost: float
    """See ``Corruption``."""
    identity: str
    """Whose picture it was made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """How pairs are made."""

    image_size_px: int
    crop_margin: float
    swap_share: float = 0.3
    part_share: float = 0.375
    """Of the self-blended: how often only the mouth, the eyes or the lower face is foreign, see ``self_blend``."""
    severity: float = 1.0
    """Of the corruptions, in [0, 1]."""
    difficulty: float = 1.0
    """In [0, 1]. At 0 pictures are undamaged, whole faces are blended, and what self-blending changes is strong."""


class PairMaker:
    """Makes pairs from the real records of one split.

    Raises:
        EmptyClassError: There are no real pictures.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = [record for record in records if record.label == "real"]
        if not self.records:
            raise EmptyClassError(
                f"of {len(records)} pictures none is real; self-blended fakes are made of real ones: add some"
            )
        videos = [index for index, record in enumerate(self.records) if record.from_video]
        photographs = [index for index, record in enumerate(self.records) if not record.from_video]
        self._pools = [pool for pool in (photographs, videos) if pool]
        scaled = np.stack([_unit(record.points_px) for record in self.records])
        self._shape = scaled.reshape(len(scaled), -1)

    def make(self, rng: np.random.Generator, options: PairOptions) -> CropPair:
        """One pair of random pictures."""
        pool = self._pools[1] if len(self._pools) > 1 and rng.random() < 0.2 else self._pools[0]
        return self.make_of(int(rng.choice(pool)), rng, options)

    def make_of(self, index: int, rng: np.random.Generator, options: PairOptions) -> CropPair:
        """One pair of a chosen picture."""
        record = self.records[index]
        difficulty = options.difficulty * float(rng.uniform(0.3, 1)) if options.difficulty < 1 else 1.0
        severity, plain = options.severity * difficulty, bool(rng.random() > difficulty)
        swapped = bool(rng.random() < options.swap_share)
        picture, points, box = _flipped(record.picture(), record.points_px, record.box, flip=bool(rng.random() < 0.5))
        before = draw(rng, severity=0.7 * severity, min_scale=max(0.6, MIN_FACE_PX / box.side))
        picture, points, box = _degraded(picture, points, box, before)
        if swapped:
            donor = self.records[self._donor(index, rng)]
            donor_picture, donor_points, _ = _degraded(
                donor.picture(), donor.points_px, donor.box, draw(rng, severity=0.4 * difficulty, min_scale=0.6)
            )
            pair = swap(picture, points, donor_picture, donor_points, rng)
        else:
            pair = self_blend(picture, points, rng, strength=3 - 2 * difficulty, plain=plain, part_share=options.part_share)
        after = draw(rng, severity=severity, min_scale=MIN_FACE_PX / box.side)
        return _cropped(pair, box, after, rng, options, identity=record.identity)

    def _donor(self, index: int, rng: np.random.Generator) -> int:
        """Another person whose face is turned much the same way."""
        identity = self.records[index].identity
        candidates = rng.integers(0, len(self.records), 48)
        others = [int(c) for c in candidates if self.records[int(c)].identity != identity]
        # Where nearly all pictures are of one person, a draw may miss the few others.
        others = others or [number for number, record in enumerate(self.records) if record.identity != identity]
        if not others:
            raise EmptyClassError(
                f"nobody but {identity} is among the real pictures; a swap needs two people: add some or set swap_share to 0"
            )
        distances = ((self._shape[others] - self._shape[index]) ** 2).sum(1)
        return others[int(distances.argmin())]


def _unit(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every eighth point, centred, of unit size."""
    few = points[::8] - points.mean(0)
    return np.asarray(few / (np.abs(few).max() + 1e-6), np.float32)


def _flipped(
    picture: NDArray[np.uint8], points: NDArray[np.float32], box: Box, *, flip: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Box]:
    if not flip:
        return picture, points, box
    width = picture.shape[1]
    turned = points * np.array([-1, 1], np.float32) + np.array([width - 1, 0], np.float32)
    return np.ascontiguousarray(picture[:, ::-1]), turned, Box(width - box.x1, box.y0, width - box.x0, box.y1)


def _degraded(
    picture: NDArray[np.uint8], points: NDArray[np.float32], box: Box, corruption: Corruption
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Box]:
    after = corruption.apply(picture)
    ratio = after.shape[1] / picture.shape[1]
    return after, points * np.float32(ratio), Box(*(value * ratio for value in box))


def _cropped(
    pair: Pair, box: Box, after: Corruption, rng: np.random.Generator, options: PairOptions, *, identity: str
) -> CropPair:
    real, fake = after.apply(pair.real), after.apply(pair.fake)
    ratio = real.shape[1] / pair.real.shape[1]
    # The detector's box is never twice the same.
    side = box.side * ratio
    moved = Box(*(value * ratio for value in box)).moved(*(rng.normal(0, 0.02, 2) * side))
    grow = side * float(rng.normal(0, 0.025))
    box = Box(moved.x0 - grow, moved.y0 - grow, moved.x1 + grow, moved.y1 + grow)
    size, margin = options.image_size_px, options.crop_margin
    crops = np.stack([crop_square(picture, box, size_px=size, margin=margin) for picture in (real, fake)])
    shares = (pair.mask * 255).astype(np.uint8)
    small = Corruption(scale=after.scale, scaler=3).apply(np.repeat(shares[..., None], 3, axis=2))
    mask = crop_square(small, box, size_px=size, margin=margin)[..., 0].astype(np.float32) / 255
    inside = mask > 0.1
    difference = np.abs(crops[0].astype(np.int16) - crops[1]).mean(-1)
    visible = float(difference[inside].mean()) if inside.any() else 0.0
    return CropPair(crops=crops, mask=mask, visible=visible, face_px=side, quality_cost=after.quality_cost, identity=identity)
