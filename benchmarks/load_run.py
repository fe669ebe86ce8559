"""``unmask bench load``: more and more clients until the server is full, then arrivals at shares of what it took."""

import csv
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import server_statistics
from benchmarks.errors import BenchmarkError, OutputError, ServerDied
from benchmarks.load_loops import Level, closed_loop, open_loop
from benchmarks.load_requests import Sender
from benchmarks.memory import resident_bytes
from benchmarks.paths import DETECTOR, PathName, open_path
from benchmarks.record import Check, Labels, Record, Series
from benchmarks.servers import LOST, Target

KNEE_SHARE = 0.95
"""The knee is the smallest number of clients with this share of the best throughput: beyond it only latency grows."""
P99_OF_P50_MAX = 3.0
REFUSED_MAX_MS = 50.0
OVERLOAD_P99_OF_KNEE_MAX = 2.0
MEMORY_GROWTH_MAX_MB = 100.0
PERF_ANALYZER_DIFFERENCE_MAX = 0.1
WARM_UP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What to apply."""

    clients: tuple[int, ...]
    """Closed loops, one after the other."""
    open_loops: tuple[tuple[int, float], ...]
    """Open loops: percentages of the knee's throughput, each with its seconds. Where one is above 100, 100 is measured, too."""
    frames: tuple[int, ...]
    """Clip lengths, drawn evenly."""
    duration_s: float
    """Of each closed loop."""
    path: PathName = "grpc"
    perf_analyzer: bool = False
    """Measure each closed loop with NVIDIA's perf_analyzer, too."""
    csv: Path | None = None


def run(options: LoadOptions, target: Target, record: Record, *, tick: Callable[[], None] | None = None) -> None:
    """Fills ``record``, level by level.

    Raises:
        ServerDied: The server ended in mid-run.
        BenchmarkError: No request is answered.
        OutputError: The CSV file cannot be written.
    """
    tick = tick or (lambda: None)
    path = open_path(options.path, target)
    sender = Sender(path)
    closed: list[Level] = []
    try:
        for _ in range(WARM_UP):
            for frames in {min(options.frames), max(options.frames)}:
                problem = sender.send(frames, started=time.perf_counter()).error
                if problem in LOST:
                    raise ServerDied("the server ended while it was warmed up")
                if problem and problem != "overloaded":
                    raise BenchmarkError(
                        f"the server does not answer {frames} frames ({problem}); `unmask doctor` says what is wrong"
                    )
        for clients in options.clients:
            level = Level(f"{clients} clients" if clients > 1 else "1 client", "closed", float(clients))
            closed.append(level)
            _apply(
                level, target, record,
                lambda level=level, clients=clients: closed_loop(  # type: ignore[misc]
                    sender, level, clients=clients, duration_s=options.duration_s, frames=options.frames, tick=tick
                ),
            )  # fmt: skip
            if options.perf_analyzer:
                _second_opinion(level, options, target, record)
        knee = _knee(closed)
        record.figures["knee"] = {
            "clients": int(knee.load), "requests_per_s": round(knee.throughput, 4), "frames_per_s": round(knee.frames_per_s, 2)
        }  # fmt: skip
        for percent, seconds in _open_levels(options.open_loops):
            rate = knee.throughput * percent / 100
            level = Level(f"open, {percent}% of the knee", "open", rate)
            memory: list[float] = []

            def watch(memory: list[float] = memory) -> None:
                tick()
                if pids := target.pids():
                    memory.append(resident_bytes(pids) / 1e6)

            _apply(
                level, target, record,
                lambda level=level, rate=rate, watch=watch, percent=percent, seconds=seconds: open_loop(  # type: ignore[misc]
                    sender, level, rate=rate, duration_s=seconds, frames=options.frames, seed=percent, every_s=watch
                ),
            )  # fmt: skip
            if memory:
                labels: Labels = {"level": level.name, "outcome": "memory"}
                record.series.append(Series(name=f"{level.name}: memory", unit="MB", samples=memory, labels=labels))
    finally:
        if target.alive():
            path.close()
        _promise(record)
        if options.csv is not None:
            try:
                write_csv(record, options.csv)
            except OSError as error:
                raise OutputError(
                    f"{options.csv} could not be written ({error.strerror or error}); the JSON file has all of it"
                ) from error


def _apply(level: Level, target: Target, record: Record, loop: Callable[[], None]) -> None:
    before = server_statistics.read(target.http_url) if target.http_url else {}
    try:
        loop()
    finally:
        _add(level, target, record, before)
    if any(outcome.error in LOST for outcome in level.outcomes) or not target.alive():
        raise ServerDied(f"the server ended in mid-run, during {level.name}")


def _add(level: Level, target: Target, record: Record, before: dict[str, server_statistics.Counters]) -> None:
    figures: dict[str, Any] = {
        "requests_per_s": round(level.throughput, 4),
        "frames_per_s": round(level.frames_per_s, 2),
        "sent": len(level.outcomes),
        "refused": len(level.refused),
        "failed": len(level.failed),
        "errors": dict(Counter(outcome.error for outcome in level.outcomes if outcome.error)),
        "seconds": round(level.seconds, 3),
    }
    if level.unsent:
        figures["unsent"] = level.unsent
    if target.http_url and target.alive():
        figures["split_ms"] = server_statistics.split_ms(before, server_statistics.read(target.http_url))
    if pids := target.pids():
        figures["server_memory_mb"] = round(resident_bytes(pids) / 1e6, 1)
    labels: Labels = {"level": level.name, "kind": level.kind, "load": round(level.load, 4)}
    for outcome, name, members in (("answered", "", level.answered), ("refused", ": refused", level.refused)):
        if members or outcome == "answered":
            series = Series(
                name=level.name + name, unit="s", samples=[member.latency_s for member in members],
                labels={**labels, "outcome": outcome}, figures=figures if outcome == "answered" else {},
            )  # fmt: skip
            record.series.append(series)


def _second_opinion(level: Level, options: LoadOptions, target: Target, record: Record) -> None:
    from benchmarks import perf_analyzer

    assert target.grpc_url is not None, "the path is gRPC"
    try:
        theirs = perf_analyzer.measure(
            target.grpc_url, frames=options.frames, clients=int(level.load), seconds=min(options.duration_s, 10.0)
        )
    except BenchmarkError as error:
        # On a restless machine it finds nothing stable, which says nothing about ours.
        record.notes.append(f"{level.name}: {error}")
        return
    record.figures.setdefault("perf_analyzer", {})[level.name] = {
        "requests_per_s": round(theirs.requests_per_s, 4), "p50_ms": round(theirs.p50_ms, 3), "p99_ms": round(theirs.p99_ms, 3)
    }  # fmt: skip
    if not theirs.requests_per_s:
        record.notes.append(f"{level.name}: perf_analyzer had no answer")
        return
    difference = abs(level.throughput / theirs.requests_per_s - 1)
    record.checks.append(
        Check(name=f"{level.name}: throughput's distance from perf_analyzer's", value=difference, relation="<=",
              limit=PERF_ANALYZER_DIFFERENCE_MAX)
    )  # fmt: skip


def _open_levels(loops: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """What is beyond the knee is compared with open arrivals at the knee, so those are measured, too."""
    beyond = [seconds for percent, seconds in loops if percent > 100]
    if not beyond or any(percent == 100 for percent, _ in loops):
        return loops
    return tuple(sorted((*loops, (100, beyond[0]))))


def _knee(levels: list[Level]) -> Level:
    best = max(level.throughput for level in levels)
    if not best:
        raise BenchmarkError(
            "no request of the closed loops was answered, so there is no knee to take percentages of; see `errors`"
        )
    return next(level for level in levels if level.throughput >= KNEE_SHARE * best)


def _promise(record: Record) -> None:
    """Holds the open loops against what a server under load must do."""

    def latencies(level: str, outcome: str = "answered") -> Series | None:
        found = record.find(level=level, outcome=outcome)
        return found if found is not None and found.samples else None

    def p99(series: Series) -> float:
        return float(np.percentile(series.samples, 99))

    below = latencies("open, 80% of the knee")
    if below is not None:
        name = "80% of the knee: "
        wrong = float(below.figures["refused"] + below.figures["failed"])
        share = p99(below) / float(np.median(below.samples))
        record.checks.append(Check(name=name + "errors", value=wrong, relation="<=", limit=0.0))
        record.checks.append(Check(name=name + "p99 in multiples of p50", value=share, relation="<=", limit=P99_OF_P50_MAX))
        memory = latencies("open, 80% of the knee", "memory")
        if memory is not None:
            second = memory.samples[len(memory.samples) // 2 :]
            growth = max(second) - second[0]
            limit = MEMORY_GROWTH_MAX_MB
            record.checks.append(
                Check(name=name + "memory growth in the second half, MB", value=growth, relation="<=", limit=limit)
            )
    over, knee = latencies("open, 150% of the knee"), latencies("open, 100% of the knee")
    refused = latencies("open, 150% of the knee", "refused")
    name = "150% of the knee: "
    if refused is not None:
        record.checks.append(
            Check(name=name + "p99 of refusals, ms", value=1e3 * p99(refused), relation="<=", limit=REFUSED_MAX_MS)
        )
    if over is not None:
        record.checks.append(
            Check(name=name + "requests that failed otherwise", value=float(over.figures["failed"]), relation="<=", limit=0.0)
        )
        if knee is not None:
            record.checks.append(
                Check(name=name + "p99 of accepted requests, in multiples of that at the knee", value=p99(over) / p99(knee),
                      relation="<=", limit=OVERLOAD_P99_OF_KNEE_MAX)
            )  # fmt: skip


def write_csv(record: Record, path: Path) -> None:
    """One row a level, under perf_analyzer's column names (times in microseconds), so that its files can be laid beside it.

    A file of perf_analyzer's has ``Concurrency`` or ``Request Rate`` as its first column; here both stand side by side, one of them empty.
    What it calls client send and receive it measures inside its own process; here that is part of the network column. Server columns are
    sums over the composing models.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ["Client Send", "Network+Server Send/Recv", "Server Queue", "Server Compute Input", "Server Compute Infer",
                   "Server Compute Output", "Client Recv", "p50 latency", "p90 latency", "p95 latency", "p99 latency"]  # fmt: skip
        writer.writerow(["Concurrency", "Request Rate", "Inferences/Second", *columns])
        for series in record.series:
            if series.labels.get("outcome") != "answered" or not series.samples:
                continue
            closed = series.labels["kind"] == "closed"
            split = series.figures.get("split_ms", {})
            parts = [sum(row[part] for model, row in split.items() if model != DETECTOR) for part in server_statistics.PARTS]
            inside = split.get(DETECTOR, {}).get("total", 0.0)
            outside = max(0.0, 1e3 * float(np.mean(series.samples)) - inside)
            load = series.labels["load"]
            writer.writerow(
                [round(float(load)) if closed else "", "" if closed else load, series.figures["requests_per_s"],
                 0, *(round(1e3 * value) for value in (outside, *parts)), 0,
                 *(round(1e6 * float(np.percentile(series.samples, q))) for q in (50, 90, 95, 99))]
            )  # fmt: skip
