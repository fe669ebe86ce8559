"""Batches of the frame stage, each made of its step's number alone, in a process of its own."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.pairs import CropPair, PairMaker, PairOptions

VISIBLE_STEPS = 2.5
"""A fake that differs less than this from its real picture (mean of 255 steps inside the mask) counts for less: what cannot be
seen must not be learned as a fake, or every poor picture becomes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the run."""

    steps: int
    window_px: int
    """Side of the window that is cut out of the crop, at the crop's own resolution; the whole crop in the last phases."""
    pairs: int
    blocks: tuple[int, ...] = ()
    """Blocks of each of the encoder's four layers that learn; empty: all. The others are still their shortcuts and cost nothing."""
    windows: int = 1
    """Windows that each pair gives: making a pair costs a fifth of learning from it. A batch has 2 x pairs x windows pictures."""
    difficulty: float = 1.0
    """Of the pairs at the phase's end, see ``PairOptions``; it rises evenly from where the phase before ended."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """First all real pictures, then their fakes in the same order."""

    frames: Tensor
    """(2N, P, P, 3) uint8 RGB."""
    masks: Tensor
    """(2N, P, P) float32: share of the foreign picture; 0 for real ones."""
    labels: Tensor
    """(2N,) int64: 0 real, 1 fake."""
    weights: Tensor
    """(2N,) float32."""
    quality: Tensor
    """(N, 2) float32 of the real pictures: log2 of the face's side in px, codec's cost."""


def plan(phases: Sequence[Phase]) -> int:
    """Steps in all."""
    return sum(phase.steps for phase in phases)


def phase_of(phases: Sequence[Phase], step: int) -> Phase:
    """The phase that a step (from 0) falls into."""
    for phase in phases:
        if step < phase.steps:
            return phase
        step -= phase.steps
    return phases[-1]


def past(phases: Sequence[Phase], step: int) -> list[Phase]:
    """The phases up to a step, the last one as far as it has come."""
    out, left = [], step
    for phase in phases:
        if left <= 0:
            break
        come = phase.difficulty if left >= phase.steps else round(difficulty_of(phases, step), 6)
        out.append(replace(phase, steps=min(phase.steps, left), difficulty=come))
        left -= phase.steps
    return out


def difficulty_of(phases: Sequence[Phase], step: int) -> float:
    """Difficulty of the pairs of a step (from 0)."""
    before = phases[0].difficulty
    for phase in phases:
        if step < phase.steps:
            return before + (phase.difficulty - before) * step / phase.steps
        step, before = step - phase.steps, phase.difficulty
    return before


class FrameBatches(Dataset[FrameBatch]):
    """Batch number ``step`` of a run."""

    def __init__(self, maker: PairMaker, phases: Sequence[Phase], options: PairOptions, seed: int) -> None:
        self._maker = maker
        self._phases = tuple(phases)
        self._options = options
        self._seed = seed

    def __len__(self) -> int:
        return plan(self._phases)

    def __getitem__(self, step: int) -> FrameBatch:
        phase = phase_of(self._phases, step)
        # Easy first: from scratch, a network that is shown only faint traces in poor pictures learns nothing for long.
        options = replace(self._options, difficulty=difficulty_of(self._phases, step))
        pairs, windows = [], []
        for place in range(phase.pairs):
            rng = np.random.default_rng((self._seed, step, place))
            pair = self._maker.make(rng, options)
            for _ in range(phase.windows):
                pairs.append(pair)
                windows.append(_window(pair, phase.window_px, rng))
        return to_batch(pairs, windows, phase.window_px)

    def from_step(self, step: int, *, workers: int) -> Iterator[FrameBatch]:
        """Batches from a step to the end."""
        import cv2

        if workers:
            # A forked process that inherits OpenCV's pool waits for threads that it does not have, for ever.
            cv2.setNumThreads(1)
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=range(step, len(self)),
                num_workers=workers,
                worker_init_fn=_quietly,
                prefetch_factor=4 if workers else None,
            )
        )


def to_batch(pairs: Sequence[CropPair], windows: Sequence[tuple[int, int]], side: int) -> FrameBatch:
    """Stacks pairs, each cut at its window's top left corner."""
    real, fake, masks = [], [], []
    for pair, (top, left) in zip(pairs, windows, strict=True):
        rows, columns = slice(top, top + side), slice(left, left + side)
        real.append(pair.crops[0, rows, columns])
        fake.append(pair.crops[1, rows, columns])
        masks.append(pair.mask[rows, columns])
    count = len(pairs)
    shares = torch.from_numpy(np.stack(masks))
    seen = torch.tensor([min(1.0, pair.visible / VISIBLE_STEPS) for pair in pairs])
    return FrameBatch(
        frames=torch.from_numpy(np.stack(real + fake)),
        masks=torch.cat([torch.zeros_like(shares), shares]),
        labels=torch.cat([torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.int64)]),
        weights=torch.cat([torch.ones(count), seen]).to(torch.float32),
        quality=torch.tensor([(np.log2(pair.face_px), pair.quality_cost) for pair in pairs], dtype=torch.float32),
    )


def _window(pair: CropPair, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner of a window that shows some of the blend's edge."""
    size = pair.mask.shape[0]
    if side >= size:
        return 0, 0
    edge: NDArray[np.float32] = pair.mask * (float(pair.mask.max()) - pair.mask)
    total = float(edge.sum())
    if total <= 0:
        top, left = rng.integers(0, size - side + 1, 2).tolist()
        return top, left
    place = int(np.searchsorted(np.cumsum(edge.ravel()), rng.random() * total))
    row, column = divmod(min(place, size * size - 1), size)
    corner = np.array([row, column]) - rng.integers(side // 5, side - side // 5, 2)
    top, left = corner.clip(0, size - side).tolist()
    return top, left


def _quietly(_: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    # The network's threads wait for each other: one that is held up by this process holds up all.
    os.nice(19)
