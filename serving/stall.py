"""Notices that this process did not run for a while, and then ends it rather than let it answer.

Triton's Python backend waits at most a second for a worker's sign of life. When the worker is stopped for longer (an overloaded or
suspended machine), Triton answers the request with "Stub process is not healthy" but leaves the worker's late answer in
the queue between them, and hands it out as the answer to the **next** request: another clip's score, and soon a crash. A worker that
ends before it answers leaves an error instead, and the guard starts the server anew.
"""

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

TICK_S = 0.02
LIMIT_S = 0.68
"""Triton's worker signs every 0.3 s and Triton looks once a second: a stop of 0.7 s can make it miss the sign."""
EXIT_CODE = 70
"""``EX_SOFTWARE`` of sysexits.h."""


class StallWatch:
    """A thread that ticks, so that gaps between its ticks tell how long the process did not run."""

    def __init__(self) -> None:
        self._last_tick_s = time.monotonic()
        self._last_stall_s = float("-inf")
        self._longest_stall_s = 0.0
        threading.Thread(target=self._tick, name="stall-watch", daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            if now - self._last_tick_s > LIMIT_S:
                self._last_stall_s = now
                self._longest_stall_s = max(self._longest_stall_s, now - self._last_tick_s)
            self._last_tick_s = now

    def stalled_since(self, moment_s: float) -> bool:
        """True when a stall ended after ``moment_s`` (of ``time.monotonic``) or is ending right now."""
        return self._last_stall_s >= moment_s or time.monotonic() - self._last_tick_s > LIMIT_S

    def end_if_stalled_since(self, moment_s: float) -> None:
        """Ends the process without an answer when it stalled."""
        if self.stalled_since(moment_s):
            stood_still_s = max(self._longest_stall_s, time.monotonic() - self._last_tick_s)
            os.write(
                2,
                f"this worker stood still for {stood_still_s:.2f} s: it ends, so that no late answer is taken for another\n".encode(),
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
