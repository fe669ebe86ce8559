"""``unmask bench pipeline``: from file to verdict, stage by stage, and beside the reference pipeline."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.record import Check, Record, Series
from benchmarks.samples import median_ratio
from benchmarks.servers import Target, watching

if TYPE_CHECKING:
    from client import Detector

AS_SERVED_MIN, SINGLE_PASS_MIN = 40.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """What to measure."""

    video: Path
    frames: int
    repeats: int
    against_reference: bool
    reference_repeats: int = 1
    min_ratio_as_served: float = AS_SERVED_MIN
    min_ratio_single_pass: float = SINGLE_PASS_MIN


def run(options: PipelineOptions, target: Target, record: Record, *, tick: Callable[[], None] | None = None) -> None:
    """Fills ``record``. Half of our requests come before the reference's and half after, so that both meet the same machine.

    Raises:
        ServerDied: The server ended in mid-run.
        preprocess.errors.PreprocessError: The video cannot be read.
    """
    from client import Detector

    ours = Series(name="unmask: file to verdict", unit="s", samples=[], labels={"pipeline": "unmask", "frames": options.frames})
    stages: dict[str, list[float]] = {}
    record.series.append(ours)
    try:
        with watching(target), Detector(target.url) as detector, tempfile.TemporaryDirectory(prefix="unmask-bench-") as folder:
            start = time.perf_counter()
            analysis = detector.analyze(options.video, frames=options.frames)
            record.figures["first request s"] = round(time.perf_counter() - start, 4)
            record.figures["tracks"] = [len(clip) for clip in analysis.extraction.clips]
            sampled = analysis.extraction.sampled_timestamps_s
            record.figures["sampled"] = {
                "frames": len(sampled), "first_s": round(float(sampled[0]), 3), "last_s": round(float(sampled[-1]), 3),
                "duration_s": analysis.extraction.source.duration_s,
            }  # fmt: skip
            _ours(detector, options, options.repeats - options.repeats // 2, ours, stages, tick)
            if options.against_reference:
                _reference(options, Path(folder), record, analysis, detector, tick)
            _ours(detector, options, options.repeats // 2, ours, stages, tick)
    finally:
        for name, samples in stages.items():
            labels: dict[str, str | int | float] = {"pipeline": "unmask", "stage": name}
            record.series.append(Series(name=f"unmask: {name}", unit="s", samples=samples, labels=labels))
        if not ours.samples:
            record.series.remove(ours)
        _derive(options, record)


def _ours(
    detector: "Detector",
    options: PipelineOptions,
    repeats: int,
    ours: Series,
    stages: dict[str, list[float]],
    tick: Callable[[], None] | None,
) -> None:
    for _ in range(repeats):
        start = time.perf_counter()
        verdict = detector.detect(options.video, frames=options.frames)
        ours.samples.append(time.perf_counter() - start)
        for name, seconds in verdict.stage_s.items():
            if name != "total":
                stages.setdefault(name, []).append(seconds)
        if tick is not None:
            tick()


def _reference(
    options: PipelineOptions,
    folder: Path,
    record: Record,
    analysis: Any,
    detector: "Detector",
    tick: Callable[[], None] | None,
) -> None:
    from benchmarks.reference_pipeline import ReferencePipeline, load_weights, network_score, save_weights

    weights = folder / "weights.pt"
    same = save_weights(weights, detector.model().info.weights_sha256)
    record.figures["same weights"] = same
    if not same:
        record.notes.append(
            "the served weights are not the default ones: the reference computes other weights of the same shapes"
        )
    elif analysis.extraction.clips:
        crops = analysis.extraction.clips[0].frames
        # The originals know no temperature; with the served one the two are the same figure.
        odds = math.log(eager := network_score(*load_weights(weights), crops)) - math.log1p(-eager)
        eager = 1 / (1 + math.exp(-odds / detector.model().info.temperature))
        record.figures["score of our crops"] = {
            "served": round(detector.infer_frames(crops).score, 6), "PyTorch eager": round(eager, 6),
        }  # fmt: skip
    pipeline = ReferencePipeline(weights)
    samples: dict[str, list[float]] = {}
    for _ in range(options.reference_repeats):
        judged = pipeline.judge(options.video, frames=options.frames)
        samples.setdefault("as served", []).append(judged.total_s)
        samples.setdefault("single detection pass", []).append(judged.single_pass_s)
        for name, seconds in judged.stage_s.items():
            samples.setdefault(name, []).append(seconds)
        if tick is not None:
            tick()
    for name, values in samples.items():
        labels: dict[str, str | int | float] = {"pipeline": "reference", "stage": name, "frames": options.frames}
        record.series.append(Series(name=f"reference: {name}", unit="s", samples=values, labels=labels))


def _derive(options: PipelineOptions, record: Record) -> None:
    ours = record.find(pipeline="unmask", frames=options.frames)
    limits = {"as served": options.min_ratio_as_served, "single detection pass": options.min_ratio_single_pass}
    for stage, limit in limits.items():
        theirs = record.find(pipeline="reference", stage=stage)
        if ours is None or theirs is None:
            continue
        # The reference runs between two halves of ours, not in turns with them.
        ratio, low, high = median_ratio(theirs.samples, ours.samples, paired=False)
        record.figures[f"times faster than the reference, {stage}"] = [round(value, 2) for value in (ratio, low, high)]
        name = f"times faster than the reference, {stage}"
        record.checks.append(Check(name=name, value=ratio, relation=">=", limit=limit))
    if ours is not None:
        ours.figures["frames_per_s"] = round(options.frames / float(np.median(ours.samples)), 3)
