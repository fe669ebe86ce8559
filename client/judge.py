"""From scores to a verdict: thresholds, the abstain band, and the reasons for claiming nothing. No I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from client.model_info import ModelInfo
from client.verdict import FrameScore, Label, Preprocessing, Reason, ServedModel, TrackVerdict, Verdict
from preprocess import Clip, Dropped, Extraction

_SEEN_SHARE = 0.1
"""From this share of the sampled frames on, faces that were seen and excluded are the reason, not their absence."""
_REASONS: dict[str, Reason] = {
    "face_too_small": "face_too_small",
    "face_too_blurry": "face_too_blurry",
    "face_too_dark": "face_too_dark",
    "short_track": "too_few_frames",
}
"""Of a clip, by what preprocessing says of a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the server said of one clip, checked."""

    score: float
    """Probability of fake in [0, 1], after temperature."""
    frame_scores: NDArray[np.float32]
    """(T,) in [0, 1]."""
    frame_logits: NDArray[np.float32]
    """(T, 2): real, fake."""
    model: ServedModel
    request_s: float
    """Wall time of the request as the client saw it."""


def label_of(score: float, info: ModelInfo) -> Label:
    """UNCERTAIN inside the open abstain band, else FAKE from the threshold on."""
    if info.abstain_low < score < info.abstain_high:
        return "UNCERTAIN"
    return "FAKE" if score >= info.threshold else "REAL"


def missing_face_reason(dropped: Iterable[Dropped], sampled: int) -> Reason:
    """Why a file without a single clip has none, from what happened to its sampled frames."""
    counts = Counter(item.reason for item in dropped if item.reason not in ("no_face", "other_track"))
    if not counts or sum(counts.values()) < _SEEN_SHARE * sampled:
        return "no_face"
    return _REASONS.get(counts.most_common(1)[0][0], "no_usable_face")


def judge(
    extraction: Extraction,
    scores: Mapping[int, Scores],
    model: ServedModel,
    *,
    frames_requested: int,
    source_sha256: str | None,
    stage_s: Mapping[str, float],
    notes: Iterable[str] = (),
) -> Verdict:
    """The verdict of one file.

    Args:
        extraction: What preprocessing found.
        scores: By ``track_id``; tracks without an entry were too short to be scored.
        model: The detector that answered.
        frames_requested: How many frames the sampling was asked for.
        source_sha256: Of the file.
        stage_s: Seconds by stage, preprocessing included.
        notes: For people, beside those of preprocessing.
    """
    info = model.info
    tracks = tuple(_track(clip, scores.get(clip.track_id), info) for clip in extraction.clips)
    scored = [track for track in tracks if track.score is not None]
    # The worst track decides; of equals the dominant one.
    worst = max(scored, key=lambda track: (track.score or 0.0, -track.track_id), default=None)
    reason: Reason | None
    if worst is not None:
        label, reason = worst.label, worst.reason
    elif tracks:
        label, reason = "NOT_EVALUATED", "too_few_frames"
    else:
        label, reason = "NOT_EVALUATED", missing_face_reason(extraction.dropped, len(extraction.sampled_frame_indices))
    return Verdict(
        label=label,
        reason=reason,
        score=worst.score if worst else None,
        threshold=info.threshold,
        abstain_low=info.abstain_low,
        abstain_high=info.abstain_high,
        deciding_track=worst.track_id if worst else None,
        model=model,
        source=extraction.source,
        source_sha256=source_sha256,
        preprocessing=Preprocessing(
            frames_requested=frames_requested,
            frames_sampled=len(extraction.sampled_frame_indices),
            image_size_px=info.image_size_px,
            crop_margin=info.crop_margin,
            versions=_versions(),
        ),
        tracks=tracks,
        dropped=extraction.dropped,
        notes=(*extraction.notes, *notes, *_model_notes(extraction, scored, info)),
        stage_s={name: round(seconds, 6) for name, seconds in stage_s.items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _track(clip: Clip, scores: Scores | None, info: ModelInfo) -> TrackVerdict:
    label: Label = "NOT_EVALUATED"
    reason: Reason | None = "too_few_frames"
    if scores is not None:
        if info.trained:
            label, reason = label_of(scores.score, info), None
        else:
            reason = "untrained_model"
    return TrackVerdict(
        track_id=clip.track_id,
        label=label,
        reason=reason,
        score=scores.score if scores else None,
        frames=_frames(clip, scores) if scores else (),
        frame_count=len(clip),
        start_s=float(clip.timestamps_s[0]),
        end_s=float(clip.timestamps_s[-1]),
    )


def _frames(clip: Clip, scores: Scores) -> tuple[FrameScore, ...]:
    boxes = np.round(clip.boxes_px.astype(np.float64), 2).tolist()
    return tuple(
        FrameScore(
            frame_index=int(clip.frame_indices[position]),
            timestamp_s=float(clip.timestamps_s[position]),
            box_px=tuple(boxes[position]),
            score=float(scores.frame_scores[position]),
            detector_score=round(float(clip.detector_scores[position]), 6),
            # A measure that could not be taken (NaN) is left out: JSON has no word for it.
            quality={
                name: round(float(values[position]), 4)
                for name, values in clip.quality.items()
                if np.isfinite(values[position])
            },
        )
        for position in range(len(clip))
    )


def _model_notes(extraction: Extraction, scored: list[TrackVerdict], info: ModelInfo) -> list[str]:
    notes: list[str] = []
    if info.semantics == "reference_last_frame" and scored:
        notes.append(
            "This detector is served as its original was: its score is that of each person's last frame alone; "
            "all earlier frames change nothing."
        )
    if info.semantics == "sequence" and scored and extraction.source.kind == "image":
        notes.append("A single picture was given to a detector of sequences; it cannot see what changes over time.")
    elif info.training_frames and scored:
        shortest = min(track.frame_count for track in scored)
        low, high = min(info.training_frames), max(info.training_frames)
        if not low <= shortest <= high:
            notes.append(
                f"A person is judged by {shortest} frames; the weights were trained on clips of {low} to {high} frames, "
                "so the score is less certain than the threshold suggests."
            )
    return notes


@cache
def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in ("unmask", "mediapipe", "opencv-contrib-python", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree without installation
            found[package] = "unknown"
    return found
