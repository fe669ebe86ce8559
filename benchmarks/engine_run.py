"""``unmask bench engines``: engines without a server, and the served path on top, measured in turns."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import noise_clip
from benchmarks.engines import Engine, make
from benchmarks.errors import EngineUnavailable
from benchmarks.paths import open_path
from benchmarks.record import Check, Labels, Record
from benchmarks.rounds import Candidate, Effort, measure
from benchmarks.samples import median_ratio
from benchmarks.servers import Target, serve, watching

logger = logging.getLogger("unmask.bench")
BASELINE = "torch-eager"
SERVED_OF_BARE_MIN = 0.85
SERVED_OF_EAGER_MIN = 5.0
SERVED_T1_EXTRA_MAX_MS = 6.0
SERVED_T1_MAX_MS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What to measure."""

    engines: tuple[str, ...]
    profiles: tuple[str, ...]
    """Profiles of the server to measure on top."""
    frames: tuple[int, ...]
    repository: Path
    threads: int
    effort: Effort
    checkpoint: Path | None = None
    """What PyTorch loads, where the repository's detector is neither the shipped one nor the seeded one."""
    peak: bool = False
    """Also measure matrix products, for the distance to what the processor can do."""


def bare_twin(profile: str, repository: Path) -> str:
    """The engine that computes what a profile of the server computes: same file, same precision."""
    from benchmarks.engines.base import graph_files

    if profile == "reference":
        return "onnxruntime-fp32"
    if profile == "gpu":
        return "onnxruntime-cuda-fp16"
    files = graph_files(repository, profile)
    if "int8" in files.encoder.name:
        return "openvino-int8"
    return "openvino-bf16" if files.encoder_parameters.get("HINT_BF16", "").upper() == "YES" else "openvino-fp32"


def run(options: EngineOptions, record: Record, *, tick: Callable[[], None] | None = None) -> None:
    """Measures and fills ``record``; what was measured stays in it whatever ends the run.

    Raises:
        ServerDied: A server ended by itself.
        EngineUnavailable: No engine is left to measure.
    """
    engines = _load(options, record)
    precisions = {engine.precision for engine in engines}
    try:
        # Before and after, and the better one counts: what else the machine did at that moment must not flatter the engines.
        _measure_peaks(options, record, precisions)
        _with_servers(options, list(options.profiles), [], engines, record, tick)
        _measure_peaks(options, record, precisions)
    finally:
        for engine in engines:
            engine.close()
        _derive(options, record)


def _load(options: EngineOptions, record: Record) -> list[Engine]:
    engines: list[Engine] = []
    for name in options.engines:
        try:
            engines.append(make(name, options.repository, threads=options.threads, checkpoint=options.checkpoint))
        except EngineUnavailable as error:
            record.notes.append(f"{name}: not measured: {error}")
            logger.warning("%s: %s", name, error)
    if not engines:
        why = "; ".join(record.notes) or "--engines is empty"
        raise EngineUnavailable(f"none of the engines can run here: {why}")
    return engines


def _with_servers(
    options: EngineOptions,
    profiles: list[str],
    targets: list[Target],
    engines: list[Engine],
    record: Record,
    tick: Callable[[], None] | None,
) -> None:
    if profiles:
        with serve(options.repository, profiles[0], threads=options.threads) as target:
            _with_servers(options, profiles[1:], [*targets, target], engines, record, tick)
        return
    paths = {target: open_path("grpc", target) for target in targets}
    try:
        for frames in options.frames:
            clip = noise_clip(frames)
            candidates = []
            for engine in engines:
                try:
                    tuned = engine.tune(frames)
                except EngineUnavailable as error:
                    record.notes.append(f"{engine.name}: not measured at T={frames}: {error}")
                    continue
                labels: Labels = {"engine": engine.name, "precision": engine.precision, "frames": frames, "served": "no"}
                candidates.append(Candidate(f"{engine.name} T={frames}", partial(engine.run, clip), labels))
                record.figures.setdefault("tuned", {})[f"{engine.name} T={frames}"] = tuned
                record.figures.setdefault("size_bytes", {})[engine.name] = engine.size_bytes
            for target, path in paths.items():
                name = f"served-{target.profile}"
                precision = bare_twin(target.profile, options.repository).rpartition("-")[2]
                labels = {"engine": name, "precision": precision, "frames": frames, "served": "yes"}
                candidates.append(Candidate(f"{name} T={frames}", partial(path.send, clip), labels))
            _agree(engines, clip, record)
            try:
                with ExitStack() as stack:
                    for target in targets:
                        stack.enter_context(watching(target))
                    measure(candidates, options.effort, tick=tick)
            finally:
                record.add(candidates)
    finally:
        for path in paths.values():
            path.close()


def _agree(engines: Sequence[Engine], clip: NDArray[np.uint8], record: Record) -> None:
    """A fast engine that computes something else is no engine: notes the largest difference of logits from the first."""
    reference = engines[0].run(clip)
    differences = record.figures.setdefault("largest_logit_difference", {})
    for engine in engines[1:]:
        differences[f"{engine.name} T={len(clip)}"] = round(float(np.abs(engine.run(clip) - reference).max()), 6)


def _measure_peaks(options: EngineOptions, record: Record, precisions: set[str]) -> None:
    """Matrix products on the processor in the engines' precisions; keeps the better figure of several calls."""
    if not options.peak:
        return
    from benchmarks.engines.peak import multiply_adds_per_frame, peak_flops

    peaks = record.figures.setdefault("peak_gflops", {})
    for precision in sorted(precisions & {"fp32", "bf16", "int8"}):
        try:
            peak = round(peak_flops(precision, threads=options.threads) / 1e9, 1)
            record.figures.setdefault("operations_per_frame", 2 * multiply_adds_per_frame())
        except (ImportError, RuntimeError) as error:
            note = f"no peak of {precision}: {str(error).splitlines()[0]}"
            if note not in record.notes:
                record.notes.append(note)
            continue
        peaks[precision] = max(peak, peaks.get(precision, 0.0))


def _distance_to_peak(record: Record) -> None:
    """Share of the best matrix product in the same precision that each series reaches."""
    operations, peaks = record.figures.get("operations_per_frame"), record.figures.get("peak_gflops", {})
    for series in record.series:
        peak = peaks.get(str(series.labels["precision"]))
        if peak and operations and "-cuda-" not in str(series.labels["engine"]):
            rate = int(series.labels["frames"]) / float(np.median(series.samples))
            series.figures["share_of_peak"] = round(rate * operations / (1e9 * peak), 4)


def _derive(options: EngineOptions, record: Record) -> None:
    """Ratios and promises, from what was measured in one run."""
    _distance_to_peak(record)
    ratios = record.figures.setdefault("ratio_to_baseline", {})
    for series in record.series:
        frames = int(series.labels["frames"])
        series.figures["frames_per_s"] = round(frames / float(np.median(series.samples)), 3)
        baseline = record.find(engine=BASELINE, frames=frames)
        if baseline is not None:
            ratio, low, high = median_ratio(baseline.samples, series.samples)
            ratios[series.name] = [round(value, 4) for value in (ratio, low, high)]
    most = max(options.frames)
    for profile in options.profiles:
        served = record.find(engine=f"served-{profile}", frames=most)
        bare = record.find(engine=bare_twin(profile, options.repository), frames=most)
        eager = record.find(engine=BASELINE, frames=most)
        if served is not None and bare is not None:
            ratio, low, high = median_ratio(bare.samples, served.samples)
            record.figures[f"served-{profile} of bare T={most}"] = [round(value, 4) for value in (ratio, low, high)]
            if profile == "cpu":
                record.checks.append(
                    Check(name=f"T={most} through gRPC, share of {bare.labels['engine']}'s frames per second",
                          value=ratio, relation=">=", limit=SERVED_OF_BARE_MIN)
                )  # fmt: skip
        if served is not None and eager is not None and profile == "cpu":
            record.checks.append(
                Check(name=f"T={most} through gRPC, times PyTorch eager's frames per second",
                      value=median_ratio(eager.samples, served.samples)[0], relation=">=", limit=SERVED_OF_EAGER_MIN)
            )  # fmt: skip
        one, bare_one = (
            record.find(engine=f"served-{profile}", frames=1),
            record.find(engine=bare_twin(profile, options.repository), frames=1),
        )
        if one is not None and profile == "cpu":
            p50_ms = 1e3 * float(np.median(one.samples))
            record.checks.append(Check(name="T=1 through gRPC, p50 in ms", value=p50_ms, relation="<=", limit=SERVED_T1_MAX_MS))
            if bare_one is not None:
                extra_ms = p50_ms - 1e3 * float(np.median(bare_one.samples))
                record.checks.append(
                    Check(name="T=1 through gRPC, ms more than the bare engine", value=extra_ms, relation="<=",
                          limit=SERVED_T1_EXTRA_MAX_MS)
                )  # fmt: skip
