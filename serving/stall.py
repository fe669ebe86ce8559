"""Notices that this process did not run for a while, and then ends it rather than let it answer.

Triton's Python backend waits at most a second for a worker's sign of life. When the worker is stopped for longer (an overloaded or
suspended machine), Triton answers the request with "Stub process is not healthy" but leaves the worker's late answer in
the queue between them, and hands it out as the answer to the **next** request: another clip's score, and soon a crash. A worker that
ends before it answers leaves an error instead, and the guard starts the server anew.

Not covered: a stop that begins after ``execute`` returned, while the backend's C++ writes the answer into shared memory (milliseconds).
"""

import functools
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK_S = 0.02
LIMIT_S = 0.68
"""Triton's worker signs every 0.3 s and Triton looks once a second: a stop of 0.7 s can make it miss the sign."""
EXIT_CODE = 70
"""``EX_SOFTWARE`` of sysexits.h."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Clocks and counters of this process at one moment."""

    monotonic_s: float
    wall_s: float
    """Triton waits by the wall clock. It jumps when it is set, and after a suspension, which the monotonic clock does not count."""
    processor_s: float
    waited_s: float
    """How long the main thread could have run and had no processor."""
    disk_faults: int
    """Pages that had to be read from disk."""

    @classmethod
    def take(cls) -> "Sample":
        """The sample of now."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.monotonic(), time.time(), usage.ru_utime + usage.ru_stime, _waited_s(), usage.ru_majflt)

    def gap_s(self, later: "Sample") -> float:
        """Time between two samples, by the clock that saw more of it."""
        return max(later.monotonic_s - self.monotonic_s, later.wall_s - self.wall_s)

    def describe_gap(self, later: "Sample") -> str:
        """How long, and why: a process that used the processor ran, and only its ticks did not; one that waited for it met an overload."""
        return (
            f"{self.gap_s(later):.2f} s (meanwhile {later.processor_s - self.processor_s:.2f} s on a processor, "
            f"{later.waited_s - self.waited_s:.2f} s waiting for one, {later.disk_faults - self.disk_faults} page faults from disk)"
        )


def _waited_s() -> float:
    """From proc(5): the main thread's time on a run queue; 0 where the kernel does not count it."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class StallWatch:
    """A thread that ticks, so that gaps between its ticks tell how long the process did not run."""

    def __init__(self) -> None:
        self._last_tick = Sample.take()
        self._last_stall: tuple[Sample, Sample] | None = None
        threading.Thread(target=self._tick, name="stall-watch", daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            now = Sample.take()
            if self._last_tick.gap_s(now) > LIMIT_S:
                self._last_stall = self._last_tick, now
            self._last_tick = now

    def _stall_since(self, moment_s: float) -> tuple[Sample, Sample] | None:
        """The stall that is ending right now, or the last one if it ended after ``moment_s`` (of ``time.monotonic``)."""
        last_tick, now = self._last_tick, Sample.take()
        if last_tick.gap_s(now) > LIMIT_S:
            return last_tick, now
        stall = self._last_stall
        return stall if stall is not None and stall[1].monotonic_s >= moment_s else None

    def end_if_stalled_since(self, moment_s: float) -> None:
        """Ends the process without an answer when it stalled."""
        if stall := self._stall_since(moment_s):
            before, after = stall
            os.write(
                2,
                f"unmask: this worker stood still for {before.describe_gap(after)}: it ends, so that no late answer is taken for "
                "another\n".encode(),
            )
            os._exit(EXIT_CODE)


def answer_only_if_awake(execute: Callable[[Any, list[Any]], list[Any]]) -> Callable[[Any, list[Any]], list[Any]]:
    """Wraps a backend's ``execute``: ends the process instead of answering a request that may have met a stall.

    The model must keep a ``StallWatch`` as ``stalls``. A request may have waited in the queue while the process was stopped, so a stall
    that ended just before counts, too.
    """

    @functools.wraps(execute)
    def wrapped(model: Any, requests: list[Any]) -> list[Any]:
        moment_s = time.monotonic() - LIMIT_S
        model.stalls.end_if_stalled_since(moment_s)
        responses = execute(model, requests)
        model.stalls.end_if_stalled_since(moment_s)
        return responses

    return wrapped
