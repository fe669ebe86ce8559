"""Many requests of mixed length, one client, with the memory of the server's processes watched."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.errors import ServerDied
from benchmarks.load_requests import Sender
from benchmarks.memory import resident_bytes
from benchmarks.paths import open_path
from benchmarks.record import Check, Record, Series
from benchmarks.servers import LOST, serve

GROWTH_MAX_MB = 100.0
MEMORY_SAMPLES = 100


def run(
    record: Record, *, repository: Path, profile: str, requests: int, frames: tuple[int, ...],
    tick: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Sends ``requests`` clips one after the other, lengths drawn evenly from ``frames``.

    Raises:
        ServerDied: The server ended by itself.
    """
    lengths = np.random.default_rng(0).choice(np.asarray(frames), requests)
    every = max(1, requests // MEMORY_SAMPLES)
    memory_mb: list[float] = []
    latencies: list[float] = []
    answered_frames = 0
    errors: dict[str, int] = {}
    with serve(repository, profile) as target:
        path = open_path("grpc", target)
        sender = Sender(path)
        started = time.perf_counter()
        try:
            for number, length in enumerate(lengths):
                if number % every == 0:
                    memory_mb.append(resident_bytes(target.pids()) / 1e6)
                outcome = sender.send(int(length), started=started)
                if outcome.ok:
                    latencies.append(outcome.latency_s)
                    answered_frames += outcome.frames
                else:
                    errors[outcome.error] = errors.get(outcome.error, 0) + 1
                    if outcome.error in LOST or not target.alive():
                        raise ServerDied(f"the server ended by itself after {number} of {requests} requests")
                if tick is not None:
                    tick()
            memory_mb.append(resident_bytes(target.pids()) / 1e6)
        finally:
            path.close()
            labels: dict[str, str | int | float] = {"profile": profile, "requests": requests, "frames_most": max(frames)}
            rate = answered_frames / sum(latencies) if latencies else 0.0
            record.series.append(
                Series(
                    name="soak: latency", unit="s", samples=latencies, labels=labels, figures={"frames_per_s": round(rate, 3)}
                )
            )
            record.series.append(Series(name="soak: memory", unit="MB", samples=memory_mb, labels=labels))
            record.figures["errors"] = errors
    second_half = memory_mb[len(memory_mb) // 2 :]
    growth = max(second_half) - second_half[0]
    record.figures["memory_growth_second_half_mb"] = round(growth, 2)
    record.checks += [
        Check(
            name="server's memory (PSS): most growth in the second half, MB", value=growth, relation="<=", limit=GROWTH_MAX_MB
        ),
        Check(name="requests that failed", value=float(sum(errors.values())), relation="<=", limit=0.0),
    ]
