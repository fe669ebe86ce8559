"""Verdicts as CSV."""

import csv
import io

from client.verdict import Verdict

_HEAD = (
    "file", "sha256", "verdict", "reason", "clip_score", "detector", "person", "person_score", "frame_index",
    "timestamp_s", "score", "face_confidence", "x0_px", "y0_px", "x1_px", "y1_px",
)  # fmt: skip


def to_csv(verdict: Verdict) -> str:
    """One line a face; the verdict's own facts stand on each, so that files can be joined."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    facts = [
        cell(verdict.source.path), verdict.source_sha256, verdict.label, verdict.reason, verdict.score,
        verdict.model.info.detector,
    ]  # fmt: skip
    lines = [
        [
            *facts, track.track_id + 1, track.score, frame.frame_index, frame.timestamp_s, frame.score,
            frame.detector_score, *frame.box_px,
        ]
        for track in verdict.tracks
        for frame in track.frames
    ]  # fmt: skip
    writer.writerows(lines or [[*facts, *[""] * (len(_HEAD) - len(facts))]])
    return text.getvalue()


def cell(text: str) -> str:
    """A name that a spreadsheet would take for a formula is shown as text instead (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
