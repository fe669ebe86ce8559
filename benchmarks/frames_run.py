"""``unmask bench frames``: latency against the number of frames, over each way to the server, and where the time goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import server_statistics
from benchmarks.clips import noise_clip
from benchmarks.memory import resident_bytes
from benchmarks.paths import DETECTOR, PathName, RequestPath, open_path
from benchmarks.record import Check, Record
from benchmarks.rounds import Candidate, Effort, measure
from benchmarks.servers import Target, watching

SHM_OF_GRPC_MAX = 1.05
"""Shared memory at T=256 may take this share of gRPC's time; 5% is what repeats of one path differ by."""
COST_100_OF_40_MAX = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesOptions:
    """What to measure."""

    frames: tuple[int, ...]
    paths: tuple[PathName, ...]
    effort: Effort


def run(options: FramesOptions, target: Target, record: Record, *, tick: Callable[[], None] | None = None) -> None:
    """Measures every path at every length in turns, and fills ``record``.

    Raises:
        ServerDied: The server ended in mid-run.
    """
    paths: dict[PathName, RequestPath] = {}
    try:
        with watching(target):
            for name in options.paths:
                paths[name] = open_path(name, target)
            for frames in options.frames:
                _one_length(frames, paths, options, target, record, tick)
    finally:
        for path in paths.values():
            if target.alive():
                path.close()
        _derive(record)


def _one_length(
    frames: int,
    paths: dict[PathName, RequestPath],
    options: FramesOptions,
    target: Target,
    record: Record,
    tick: Callable[[], None] | None,
) -> None:
    clip = noise_clip(frames)
    candidates = [
        Candidate(f"{name} T={frames}", partial(path.send, clip), {"path": name, "frames": frames})
        for name, path in paths.items()
    ]
    try:
        measure(candidates, options.effort, tick=tick)
    finally:
        record.add(candidates)
    if target.http_url is None:
        return
    for path, series in zip(paths.values(), record.series[-len(paths) :], strict=True):
        series.figures["split_ms"] = _split(path, clip, target.http_url)
        if target.pids():
            series.figures["server_memory_mb"] = round(resident_bytes(target.pids()) / 1e6, 1)


def _split(path: RequestPath, clip: NDArray[np.uint8], http_url: str) -> dict[str, float]:
    """Means over a few requests of one path alone: the server's counters do not tell paths apart."""
    repeats = 5
    start = time.perf_counter()
    for _ in range(repeats):
        path.encode(clip)
    encode_ms = 1e3 * (time.perf_counter() - start) / repeats
    before = server_statistics.read(http_url)
    start = time.perf_counter()
    for _ in range(repeats):
        path.send(clip)
    total_ms = 1e3 * (time.perf_counter() - start) / repeats
    models = server_statistics.split_ms(before, server_statistics.read(http_url))
    whole = models.pop(DETECTOR, None)
    split = {"client encode": encode_ms}
    if whole is not None:
        for model, row in models.items():
            split |= {f"{model} {part.replace('_', ' ')}": row[part] for part in server_statistics.PARTS}
        inside = sum(split.values()) - encode_ms
        # A composing model's clock runs on while the next one starts, so the parts may be a little more than the whole.
        split["ensemble"] = max(0.0, whole["total"] - inside)
        # What neither the client's own work nor the server's clocks account for: sockets, copies, (de)serialisation.
        split["network"] = max(0.0, total_ms - encode_ms - max(inside, whole["total"]))
    return {key: round(value, 4) for key, value in split.items()} | {"total": round(total_ms, 4)}


def _derive(record: Record) -> None:
    for series in record.series:
        p50 = float(np.median(series.samples))
        series.figures["frames_per_s"] = round(int(series.labels["frames"]) / p50, 3)
        series.figures["ms_per_frame"] = round(1e3 * p50 / int(series.labels["frames"]), 4)
    hundred, forty = record.find(path="grpc", frames=100), record.find(path="grpc", frames=40)
    if hundred is not None and forty is not None:
        cost = hundred.figures["ms_per_frame"] / forty.figures["ms_per_frame"]
        record.checks.append(Check(name="cost per frame, T=100 of T=40", value=cost, relation="<=", limit=COST_100_OF_40_MAX))
    most = max((int(series.labels["frames"]) for series in record.series), default=0)
    shm, grpc = record.find(path="shm", frames=most), record.find(path="grpc", frames=most)
    if shm is not None and grpc is not None:
        share = float(np.median(shm.samples) / np.median(grpc.samples))
        name = f"shared memory's time at T={most}, share of gRPC's"
        record.checks.append(Check(name=name, value=share, relation="<=", limit=SHM_OF_GRPC_MAX))
