"""From what was seen in each sampled frame to clips: which tracks count, in which order, and what is left out and why."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from preprocess.clip import Clip, Dropped
from preprocess.faces import Face
from preprocess.quality import MEASURES
from preprocess.settings import PreprocessSettings


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one sampled frame."""

    track: int
    face: Face
    crop: NDArray[np.uint8]
    measures: dict[str, float]
    flaw: str | None
    """Why it is not used, or None."""


@dataclass(slots=True)
class SampledFrame:
    """One frame that was looked at."""

    index: int
    timestamp_s: float
    sightings: list[Sighting] = field(default_factory=list)


REASONS = {
    "no_face": "no face was found",
    "not_decoded": "the frame could not be decoded",
    "face_too_small": "the face is too small",
    "face_too_dark": "the face is too dark",
    "face_too_blurry": "the face is too blurry",
    "not_a_face": "it looked like a face, but never clearly",
    "short_track": "the face was seen too briefly",
    "track_limit": "more people than the limit on tracks",
}
"""``Dropped.reason`` -> words for people."""


def assemble(
    frames: list[SampledFrame], repeats: dict[int, int], settings: PreprocessSettings
) -> tuple[tuple[Clip, ...], tuple[Dropped, ...], tuple[str, ...]]:
    """Clips of the tracks that count, dominant first; dropped frames; notes.

    Args:
        frames: In order of time.
        repeats: How often a frame index stands in a clip, where it is not 1.
    """
    by_track: dict[int, list[tuple[SampledFrame, Sighting]]] = {}
    for frame in frames:
        for sighting in frame.sightings:
            by_track.setdefault(sighting.track, []).append((frame, sighting))
    least = min(len(frames), max(settings.min_track_frames, math.ceil(settings.min_track_share * len(frames))))
    long_enough = {key for key, seen in by_track.items() if len(seen) >= least}
    doubtful = {
        key
        for key in long_enough
        if float(np.median([sighting.face.score for _, sighting in by_track[key]])) < settings.min_track_confidence
    }
    usable = {key: [pair for pair in by_track[key] if pair[1].flaw is None] for key in sorted(long_enough - doubtful)}
    # Largest and longest first: the sum of the face's size over the frames that show it.
    ranked = sorted(
        (key for key, seen in usable.items() if seen),
        key=lambda key: (-sum(sighting.measures["face_px"] for _, sighting in usable[key]), key),
    )
    kept = ranked[: settings.max_tracks]
    notes = []
    if len(ranked) > len(kept):
        notes.append(
            f"{len(ranked)} faces were followed, the limit is {settings.max_tracks}: the {len(kept)} largest and longest "
            "seen are used; raise UNMASK_PREPROCESS_MAX_TRACKS for the rest"
        )
    brief = len(by_track) - len(long_enough)
    if brief:
        notes.append(
            f"{brief} {'face was' if brief == 1 else 'faces were'} seen in fewer than {least} of {len(frames)} sampled frames "
            "and left out"
        )
    if doubtful:
        notes.append(
            f"{len(doubtful)} {'thing' if len(doubtful) == 1 else 'things'} that looked like a face, but never clearly, "
            f"{'was' if len(doubtful) == 1 else 'were'} left out"
        )
    clips = tuple(_clip(position, usable[key], repeats) for position, key in enumerate(kept))
    return clips, _dropped(frames, set(kept), doubtful, long_enough), tuple(notes)


def _clip(track_id: int, seen: list[tuple[SampledFrame, Sighting]], repeats: dict[int, int]) -> Clip:
    rows = [pair for pair in seen for _ in range(repeats.get(pair[0].index, 1))]
    sightings = [sighting for _, sighting in rows]
    return Clip(
        track_id=track_id,
        frames=np.stack([sighting.crop for sighting in sightings]),
        timestamps_s=np.array([frame.timestamp_s for frame, _ in rows], np.float64),
        frame_indices=np.array([frame.index for frame, _ in rows], np.int64),
        boxes_px=np.array([sighting.face.box for sighting in sightings], np.float32),
        detector_scores=np.array([sighting.face.score for sighting in sightings], np.float32),
        quality={name: np.array([sighting.measures[name] for sighting in sightings], np.float32) for name in MEASURES},
    )


def _dropped(frames: list[SampledFrame], kept: set[int], doubtful: set[int], long_enough: set[int]) -> tuple[Dropped, ...]:
    """Frames that are in no clip, each with the reason that concerns its largest face."""
    dropped = []
    for frame in frames:
        if any(sighting.track in kept and sighting.flaw is None for sighting in frame.sightings):
            continue
        reason = "no_face"
        for sighting in frame.sightings[:1]:
            if sighting.flaw is not None:
                reason = sighting.flaw
            elif sighting.track not in long_enough:
                reason = "short_track"
            else:
                reason = "not_a_face" if sighting.track in doubtful else "track_limit"
        dropped.append(Dropped(frame_index=frame.index, timestamp_s=frame.timestamp_s, reason=reason))
    return tuple(dropped)
