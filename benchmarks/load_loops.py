"""Closed and open loops of requests.

Closed: each of N clients sends its next request when the last one was answered; the server sets the pace. Open: requests are due at times
drawn beforehand (a Poisson process), whether or not earlier ones were answered, as they come from many independent users; latency counts
from the time a request was due (Schroeder, Wierman, Harchol-Balter, NSDI 2006).
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from benchmarks.load_requests import Outcome, Sender
from benchmarks.servers import LOST

MAX_IN_FLIGHT = 512
"""Threads of an open loop; a request that finds none free waits, and its wait counts."""


@dataclass(slots=True)
class Level:
    """One load that was applied for a while."""

    name: str
    kind: str
    """``closed`` or ``open``."""
    load: float
    """Clients, or requests a second."""
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    """From the first request to the last answer."""
    unsent: int = 0
    """Requests that were due and never sent, because the run was ended: their latencies are not among the outcomes."""

    @property
    def answered(self) -> list[Outcome]:
        """Those that were answered."""
        return [outcome for outcome in self.outcomes if outcome.ok]

    @property
    def refused(self) -> list[Outcome]:
        """Those that the server refused because its queue was full."""
        return [outcome for outcome in self.outcomes if outcome.error == "overloaded"]

    @property
    def failed(self) -> list[Outcome]:
        """Those that went wrong in any other way."""
        return [outcome for outcome in self.outcomes if outcome.error and outcome.error != "overloaded"]

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return len(self.answered) / self.seconds if self.seconds else 0.0

    @property
    def frames_per_s(self) -> float:
        """Frames of answered requests a second."""
        return sum(outcome.frames for outcome in self.answered) / self.seconds if self.seconds else 0.0


def closed_loop(
    sender: Sender, level: Level, *, clients: int, duration_s: float, frames: tuple[int, ...], tick: Callable[[], None]
) -> None:
    """Applies ``clients`` for ``duration_s``; requests that are under way then are waited for. Fills ``level`` while it runs."""
    started = time.perf_counter()
    stop = threading.Event()
    lock = threading.Lock()

    def client(number: int) -> None:
        random = np.random.default_rng(number)
        while not stop.is_set() and time.perf_counter() - started < duration_s:
            outcome = sender.send(int(random.choice(frames)), started=started)
            with lock:
                level.outcomes.append(outcome)
            tick()
            if outcome.error in LOST:
                stop.set()
            elif outcome.error:
                # A client that is refused comes back a little later, as a real one would; else it would do nothing but ask.
                stop.wait(0.05)

    threads = [threading.Thread(target=client, args=(number,), name=f"bench-client-{number}") for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        level.seconds = time.perf_counter() - started


def open_loop(
    sender: Sender,
    level: Level,
    *,
    rate: float,
    duration_s: float,
    frames: tuple[int, ...],
    seed: int,
    every_s: Callable[[], None],
) -> None:
    """Applies ``rate`` requests a second for ``duration_s``, and waits for every answer; fills ``level`` while it runs.

    ``every_s`` is called about once a second by a thread of its own: reading the memory of a large process takes milliseconds, in which a
    request that is due must not wait.
    """
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, int(rate * duration_s * 1.5) + 20)
    due = np.cumsum(gaps)
    due = due[due < duration_s]
    lengths = random.choice(np.asarray(frames), len(due))
    lock = threading.Lock()
    started = time.perf_counter()

    def send(length: int, due_s: float) -> None:
        outcome = sender.send(length, started=started, due_s=due_s)
        with lock:
            level.outcomes.append(outcome)

    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            every_s()

    watcher = threading.Thread(target=watch, name="bench-watch", daemon=True)
    watcher.start()
    submitted = 0
    complete = False
    pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="bench-open")
    try:
        for due_s, length in zip(due.tolist(), lengths.tolist(), strict=True):
            while (left := due_s - (time.perf_counter() - started)) > 0:
                time.sleep(min(left, 0.5))
            if level.outcomes and level.outcomes[-1].error in LOST:
                break
            pool.submit(send, length, due_s)
            submitted += 1
        else:
            complete = True
    finally:
        # Those that still wait for a free thread are the slowest: a run that is complete must not drop them.
        try:
            pool.shutdown(wait=True, cancel_futures=not complete)
        finally:
            over.set()
            level.unsent = submitted - len(level.outcomes)
            level.seconds = time.perf_counter() - started
        watcher.join()
