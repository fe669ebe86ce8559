"""The parity report: every precision in every engine against PyTorch, on random frames and on real face crops."""

import json
import logging
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from export import calibration
from export.errors import CalibrationError, ExportError
from export.load import Loaded
from export.parity import LENGTHS
from export.quantize import cosine
from export.report_engines import Answer, Engine, Frames, engines
from export.repository import Written

logger = logging.getLogger("unmask.export")

LOGIT_LIMITS = {"fp32": 1e-4, "fp16": 1e-2}
"""Largest |difference of logits| from PyTorch."""
MIN_COSINE, MIN_AGREEMENT = calibration.MIN_COSINE, calibration.MIN_AGREEMENT
"""Of features and of frame labels, on real crops; for bf16 and int8."""
SPEED_FRAMES, SPEED_RUNS = 100, 5
REAL_CLIPS = 64
"""Files that the real crops come from, at most: more than INT8 is calibrated on, so that most are new to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLength:
    """The largest differences at one clip length; the mean agreement."""

    frames: int
    features_max: float
    logits_max: float
    probability: float
    """|Difference| of the clip's probability."""
    cosine_min: float
    label_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine at one precision. Differences are absolute, over all lengths."""

    detector: str
    engine: str
    precision: str
    inputs: str
    """``random`` or ``real``, both at the six lengths; ``clips``: every real clip by itself, as INT8 is calibrated."""
    features_max: float
    features_mean: float
    logits_max: float
    logits_mean: float
    probability_max: float
    probability_mean: float
    cosine_min: float
    label_agreement: float
    size_bytes: int
    load_s: float
    frames_per_s: float
    """At T=100, median of five; the same number in both rows of an engine."""
    by_length: tuple[AtLength, ...]


def report(loaded: Sequence[Loaded], written: Sequence[Written], folder: Path, *, media: Path | None) -> list[str]:
    """Measures, prints the table on stdout, writes ``parity.json`` and ``parity.png``.

    Args:
        loaded: The detectors in PyTorch.
        written: The same in a repository.
        folder: Where the files go.
        media: Clips with faces; None: this machine's, or random frames alone.

    Returns:
        What is outside its tolerance: empty when all is well.

    Raises:
        ExportError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)  # first: to be told of it after minutes of measuring would be late
    except OSError as error:
        raise ExportError(f"the report cannot be written to {folder}: {error.strerror}; choose another folder") from error
    seed = time.time_ns() % 2**32
    rows: list[Row] = []
    clips: list[Frames] = []
    for detector, result in zip(loaded, written, strict=True):
        inputs = {"random": _random(seed, detector.info.image_size_px)}
        if clips := _real(detector, media):
            inputs |= {"real": _windows(clips), "clips": clips}
        expected: dict[str, list[Answer]] = {}
        with engines(detector, result) as each:
            for engine in each:
                logger.info("report: %s %s", engine.name, engine.precision)
                answers = {kind: [engine.run(clip) for clip in clips] for kind, clips in inputs.items()}
                expected = expected or answers
                speed = _speed(engine, detector.info.image_size_px)
                rows += [_row(detector, engine, kind, answers[kind], expected[kind], frames_per_s=speed) for kind in inputs]
    failures = [failure for row in rows for failure in _failures(row)]
    document = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "openvino", "nvidia-pytriton")},
        "lengths": list(LENGTHS),
        "seed": seed,
        "real_clips": len(clips),
        "real_crops": sum(len(clip) for clip in clips),
        "limits": {"logits": LOGIT_LIMITS, "cosine": MIN_COSINE, "label_agreement": MIN_AGREEMENT},
        "rows": [asdict(row) for row in rows],
        "failures": failures,
    }
    (folder / "parity.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    from export.report_plot import plot

    plot(rows, folder / "parity.png")
    click.echo(table(rows))
    click.echo(f"report: {folder / 'parity.json'}, {folder / 'parity.png'}", err=True)
    return failures


def table(rows: Sequence[Row]) -> str:
    """Fixed-width text."""
    head = (
        f"{'engine':<18}{'precision':<11}{'inputs':<8}{'features':>18}{'logits':>18}{'probability':>18}{'cosine':>9}"
        f"{'labels':>8}{'MB':>7}{'load s':>8}{'frames/s':>10}"
    )
    lines = []
    for name in dict.fromkeys(row.detector for row in rows):
        lines += [f"{name}: |difference| from PyTorch, max and mean", head]
        lines += [
            f"{row.engine:<18}{row.precision:<11}{row.inputs:<8}{row.features_max:>9.1e}{row.features_mean:>9.1e}"
            f"{row.logits_max:>9.1e}{row.logits_mean:>9.1e}{row.probability_max:>9.1e}{row.probability_mean:>9.1e}"
            f"{row.cosine_min:>9.5f}{row.label_agreement:>8.1%}{row.size_bytes / 1e6:>7.0f}{row.load_s:>8.1f}{row.frames_per_s:>10.0f}"
            for row in rows
            if row.detector == name
        ]
    return "\n".join(lines)


def _random(seed: int, image_size_px: int) -> list[Frames]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (length, image_size_px, image_size_px, 3), dtype=np.uint8) for length in LENGTHS]


def _real(detector: Loaded, media: Path | None) -> list[Frames]:
    source = media or calibration.default_media()
    if source is None:
        logger.warning("no clips with faces here: the report has random frames alone; --calibrate-on FOLDER names some")
        return []
    try:
        clips = calibration.face_clips(
            source, image_size_px=detector.info.image_size_px, crop_margin=detector.info.crop_margin, most=REAL_CLIPS
        )
    except CalibrationError as error:
        logger.warning("random frames alone: %s", error)
        return []
    return clips


def _windows(clips: Sequence[Frames]) -> list[Frames]:
    """One of each length; without a frame in two of them where there are enough, and spread over all clips."""
    crops = np.concatenate(clips)
    gap = max(0, len(crops) - sum(LENGTHS)) // (len(LENGTHS) - 1)
    starts = np.cumsum([0, *LENGTHS]) + gap * np.arange(len(LENGTHS) + 1)
    return [crops[np.arange(start, start + length) % len(crops)] for start, length in zip(starts, LENGTHS, strict=False)]


def _speed(engine: Engine, image_size_px: int) -> float:
    frames = np.random.default_rng(0).integers(0, 256, (SPEED_FRAMES, image_size_px, image_size_px, 3), dtype=np.uint8)
    engine.time_run(frames)
    taken = []
    for _ in range(SPEED_RUNS):
        started = time.perf_counter()
        engine.time_run(frames)
        taken.append(time.perf_counter() - started)
    return SPEED_FRAMES / statistics.median(taken)


def _row(
    detector: Loaded, engine: Engine, kind: str, found: Sequence[Answer], expected: Sequence[Answer], *, frames_per_s: float
) -> Row:
    features = np.concatenate([np.abs(a.features - b.features) for a, b in zip(found, expected, strict=True)])
    logits = np.concatenate([np.abs(a.logits - b.logits) for a, b in zip(found, expected, strict=True)])
    probability = np.array([abs(a.probability - b.probability) for a, b in zip(found, expected, strict=True)])
    cosines = np.concatenate([cosine(a.features, b.features) for a, b in zip(found, expected, strict=True)])
    # A frame's label, at the threshold: logit(threshold) on the difference of the logits after the temperature.
    info = detector.info
    edge = info.temperature * float(np.log(info.threshold / (1 - info.threshold))) if 0 < info.threshold < 1 else 0.0
    labels = [[item.logits[:, 1] - item.logits[:, 0] >= edge for item in side] for side in (found, expected)]
    parts: dict[int, list[AtLength]] = {}
    for a, b, mine, theirs in zip(found, expected, *labels, strict=True):
        part = AtLength(
            frames=len(a.logits),
            features_max=float(np.abs(a.features - b.features).max()),
            logits_max=float(np.abs(a.logits - b.logits).max()),
            probability=abs(a.probability - b.probability),
            cosine_min=float(cosine(a.features, b.features).min()),
            label_agreement=float((mine == theirs).mean()),
        )
        parts.setdefault(part.frames, []).append(part)
    return Row(
        detector=info.detector,
        engine=engine.name,
        precision=engine.precision,
        inputs=kind,
        features_max=float(features.max()),
        features_mean=float(features.mean()),
        logits_max=float(logits.max()),
        logits_mean=float(logits.mean()),
        probability_max=float(probability.max()),
        probability_mean=float(probability.mean()),
        cosine_min=float(cosines.min()),
        label_agreement=float((np.concatenate(labels[0]) == np.concatenate(labels[1])).mean()),
        size_bytes=engine.size_bytes,
        load_s=engine.load_s,
        frames_per_s=frames_per_s,
        by_length=tuple(_worst(parts[length]) for length in sorted(parts)),
    )


def _worst(parts: Sequence[AtLength]) -> AtLength:
    """Of several clips of one length."""
    return AtLength(
        frames=parts[0].frames,
        features_max=max(part.features_max for part in parts),
        logits_max=max(part.logits_max for part in parts),
        probability=max(part.probability for part in parts),
        cosine_min=min(part.cosine_min for part in parts),
        label_agreement=sum(part.label_agreement for part in parts) / len(parts),
    )


def _failures(row: Row) -> list[str]:
    where = f"{row.detector} in {row.engine} {row.precision} on {row.inputs} frames"
    limit = LOGIT_LIMITS.get(row.precision)
    if limit is not None:
        # "not <=" catches NaN as well.
        return [f"{where}: logits differ by {row.logits_max:.2g}, limit {limit:g}"] if not row.logits_max <= limit else []
    if row.inputs == "random":
        return []  # noise is no face: what eight bits do to it says nothing
    found = []
    if not row.cosine_min >= MIN_COSINE:
        found.append(f"{where}: cosine of features {row.cosine_min:.5f}, limit {MIN_COSINE}")
    if not row.label_agreement >= MIN_AGREEMENT:
        found.append(f"{where}: labels agree on {row.label_agreement:.1%}, limit {MIN_AGREEMENT:.0%}")
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
