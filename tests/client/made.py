"""Verdicts of every kind, judged by the real code from extractions and scores that are written down here."""

from dataclasses import replace

import numpy as np

from client.judge import Scores, judge
from client.model_info import ModelInfo
from client.verdict import ServedModel, Verdict
from preprocess import Clip, Dropped, Extraction, SourceFacts

INFO = ModelInfo(
    detector="deepfake_detector",
    semantics="sequence",
    trained=True,
    training_data="made for tests",
    accuracy=0.91,
    accuracy_data="made for tests",
    training_frames=(4, 8),
    image_size_px=16,
    crop_margin=1.3,
    class_order=("real", "fake"),
    max_frames=256,
    temperature=1.5,
    threshold=0.5,
    abstain_low=0.4,
    abstain_high=0.6,
    weights_sha256="ab" * 32,
    caveat="Made for tests.",
)
MODEL = ServedModel(info=INFO, version="3", profile="cpu", precision="int8")
VIDEO = SourceFacts(
    path="clips/interview.mp4",
    kind="video",
    container="mp4",
    codec="h264",
    width_px=1280,
    height_px=720,
    rotation_deg=90,
    fps=25.0,
    frame_count=250,
    duration_s=10.0,
    size_bytes=1_234_567,
)
IMAGE = replace(
    VIDEO, path="a.jpg", kind="image", container="jpeg", codec="jpeg", rotation_deg=0, fps=None, frame_count=1, duration_s=None
)


def clip(track_id: int, count: int, *, start_s: float = 0.0) -> Clip:
    """A track of grey crops, one a second."""
    times = start_s + np.arange(count, dtype=np.float64)
    return Clip(
        track_id=track_id,
        frames=np.full((count, 16, 16, 3), 90 + 40 * track_id, np.uint8),
        timestamps_s=times,
        frame_indices=(times * 25).astype(np.int64),
        boxes_px=np.tile(np.array([100.125, 50, 180, 130.5], np.float32), (count, 1)),
        detector_scores=np.full(count, 0.75, np.float32),
        quality={"face_px": np.full(count, 80.0, np.float32), "yaw_deg": np.full(count, np.nan, np.float32)},
    )


def extraction(*clips: Clip, source: SourceFacts = VIDEO, dropped: tuple[Dropped, ...] = (), sampled: int = 10) -> Extraction:
    """What preprocessing would hand on."""
    return Extraction(
        source=source,
        clips=clips,
        sampled_frame_indices=np.arange(sampled, dtype=np.int64) * 25,
        sampled_timestamps_s=np.arange(sampled, dtype=np.float64),
        dropped=dropped,
        notes=(),
        stage_s={"decode": 0.5, "detect": 0.25, "total": 0.75},
    )


def dropped(*reasons: str) -> tuple[Dropped, ...]:
    """One dropped frame a reason."""
    return tuple(Dropped(frame_index=25 * n, timestamp_s=float(n), reason=reason) for n, reason in enumerate(reasons))


def scores(values: list[float], model: ServedModel = MODEL) -> Scores:
    """A clip's scores; the last frame's is the clip's, as with a sequence head."""
    probabilities = np.array(values, np.float32)
    logits = np.stack([np.zeros_like(probabilities), np.log(probabilities / (1 - probabilities))], axis=1)
    return Scores(score=values[-1], frame_scores=probabilities, frame_logits=logits, model=model, request_s=0.125)


def verdict(found: Extraction, scored: dict[int, Scores], model: ServedModel = MODEL) -> Verdict:
    """The verdict, without what changes from run to run."""
    made = judge(
        found,
        scored,
        model,
        frames_requested=10,
        source_sha256="cd" * 32,
        stage_s={"decode": 0.5, "detect": 0.25, "request": 0.125, "total": 0.9},
    )
    made = replace(made, created_at="2026-01-02T03:04:05+00:00")
    return replace(made, preprocessing=replace(made.preprocessing, versions={"unmask": "0.1.0"}))


def all_verdicts() -> dict[str, Verdict]:
    """By golden file."""
    one = extraction(clip(0, 4), dropped=dropped("no_face", "face_too_blurry"))
    untrained = replace(MODEL, info=replace(INFO, trained=False))
    last_frame = replace(MODEL, info=replace(INFO, semantics="reference_last_frame"))
    return {
        "fake_two_people": verdict(
            extraction(clip(0, 8), clip(1, 5, start_s=2.0), clip(2, 2)),
            {0: scores([0.125] * 7 + [0.25]), 1: scores([0.5, 0.625, 0.75, 0.875, 0.875])},
        ),
        "real": verdict(one, {0: scores([0.5, 0.25, 0.25, 0.125])}),
        "uncertain": verdict(one, {0: scores([0.5, 0.5, 0.5, 0.4375])}),
        "untrained": verdict(one, {0: scores([0.5, 0.75, 0.75, 0.875], untrained)}, untrained),
        "last_frame_alone": verdict(one, {0: scores([0.25, 0.25, 0.25, 0.75], last_frame)}, last_frame),
        "image": verdict(extraction(clip(0, 1), source=IMAGE, sampled=1), {0: scores([0.75])}),
        "no_face": verdict(extraction(dropped=dropped(*["no_face"] * 10)), {}),
        "face_too_small": verdict(extraction(dropped=dropped(*["no_face"] * 8, *["face_too_small"] * 2)), {}),
        "too_few_frames": verdict(extraction(clip(0, 2)), {}),
    }
