"""The open loop counts every request that was due, however late it was sent or answered."""

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.load_loops import MAX_IN_FLIGHT, Level, open_loop
from benchmarks.load_requests import Sender
from benchmarks.load_run import _knee, _open_levels


class Gate:
    """A way to a server that answers nobody until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened_at = 0.0

    def send(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.opened.wait()
        return np.zeros((len(frames), 2), np.float32)

    def encode(self, frames: NDArray[np.uint8]) -> None:
        del frames

    def close(self) -> None:
        return

    def open(self) -> None:
        if not self.opened.is_set():
            self.opened_at = time.perf_counter()
            self.opened.set()


def test_requests_that_were_due_during_a_stall_count_with_their_wait() -> None:
    gate, level = Gate(), Level("open", "open", 900.0)
    sender = Sender(gate)
    began = time.perf_counter()
    open_loop(sender, level, rate=900.0, duration_s=1.0, frames=(1,), seed=1, every_s=gate.open)
    # More were due than there are threads: those that found none free are counted, too.
    assert len(level.outcomes) > MAX_IN_FLIGHT
    assert level.unsent == 0
    stalled = gate.opened_at - began
    waited = [outcome for outcome in level.outcomes if outcome.due_s < stalled / 2]
    assert len(waited) > 100
    assert all(outcome.latency_s > stalled / 4 for outcome in waited)


def test_beyond_the_knee_the_knee_is_measured_too() -> None:
    assert _open_levels(((80, 600.0),)) == ((80, 600.0),)
    assert _open_levels(((80, 600.0), (150, 30.0))) == ((80, 600.0), (100, 30.0), (150, 30.0))
    assert _open_levels(((100, 20.0), (150, 30.0))) == ((100, 20.0), (150, 30.0))
    assert _open_levels(()) == ()


def test_without_an_answer_there_is_no_knee() -> None:
    with pytest.raises(BenchmarkError, match="no request"):
        _knee([Level("1 client", "closed", 1.0)])
