"""One request after another, timed, with every outcome kept: what load tests are made of."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import MAX_FRAMES, noise_clip
from benchmarks.paths import RequestPath


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request."""

    due_s: float
    """When it was to be sent, seconds from the start; in a closed loop, when it was sent."""
    latency_s: float
    """From ``due_s`` to the answer: an open loop counts the wait for a late sender too (no coordinated omission)."""
    frames: int
    error: str
    """Code of the client's error, ``overloaded`` among them; empty: answered."""

    @property
    def ok(self) -> bool:
        """True when it was answered."""
        return not self.error


@dataclass(slots=True)
class Sender:
    """Sends clips of given lengths over one path; safe to share between threads where the path is."""

    path: RequestPath
    _clip: NDArray[np.uint8] = field(default_factory=lambda: noise_clip(MAX_FRAMES))

    def send(self, frames: int, *, started: float, due_s: float | None = None) -> Outcome:
        """One request of ``frames`` frames; ``started`` is the run's start by ``time.perf_counter``."""
        from client.errors import ServerError

        due = time.perf_counter() - started if due_s is None else due_s
        error = ""
        try:
            self.path.send(self._clip[:frames])
        except ServerError as problem:
            error = problem.code
        return Outcome(due, time.perf_counter() - started - due, frames, error)
