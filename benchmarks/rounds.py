"""Measures several candidates in turns, so that whatever else the machine does hits all of them alike."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.samples import relative_width

logger = logging.getLogger("unmask.bench")


@dataclass(slots=True)
class Candidate:
    """One thing to measure."""

    name: str
    run: Callable[[], object]
    """Does the work once; it is timed from outside."""
    labels: dict[str, str | int | float] = field(default_factory=dict)
    samples_s: list[float] = field(default_factory=list)
    """Filled while measuring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure."""

    warm_up: int = 2
    """Untimed runs of each candidate."""
    min_repeats: int = 5
    max_repeats: int = 200
    """Most rounds, unless ``min_repeats`` asks for more."""
    budget_s: float = 60.0
    """Wall time of the whole measurement; a round that began is finished."""
    target: float = 0.05
    """Stop when half the 95% interval of every candidate's median is below this share of it."""


def measure(candidates: Sequence[Candidate], effort: Effort, *, tick: Callable[[], None] | None = None) -> None:
    """Fills each candidate's ``samples_s``, round by round, in an order that is drawn anew each round.

    Whatever a candidate raises, and ``KeyboardInterrupt``, goes through; the samples until then are kept.
    """
    random = np.random.default_rng(0)
    for candidate in candidates:
        for _ in range(effort.warm_up):
            candidate.run()
    end = time.monotonic() + effort.budget_s
    for number in range(1, max(effort.min_repeats, effort.max_repeats) + 1):
        for index in random.permutation(len(candidates)):
            candidate = candidates[index]
            start = time.perf_counter()
            candidate.run()
            candidate.samples_s.append(time.perf_counter() - start)
            if tick is not None:
                tick()
        if number < effort.min_repeats:
            continue
        if time.monotonic() > end:
            logger.info("time budget used after %d rounds", number)
            return
        if all(relative_width(candidate.samples_s) < effort.target for candidate in candidates):
            logger.info("intervals below %.0f%% after %d rounds", 100 * effort.target, number)
            return
