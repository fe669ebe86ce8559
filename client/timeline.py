"""Per-frame scores over time as a small SVG, themed by the page's CSS classes.

Drawn here rather than with matplotlib: it weighs 3 KB instead of 30, follows light and dark, and pulls in nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from markupsafe import Markup, escape

from client.verdict import FrameScore, Verdict

_WIDTH = 1000
_HEIGHT = 100
_GAP = 3.0
"""Frames further apart than this many usual steps are not joined by a line: the person was not seen in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The stretch of time that all people of a file are drawn over, [start_s, end_s] with end_s > start_s."""

    start_s: float
    end_s: float

    def x(self, timestamp_s: float) -> float:
        """Position in the picture's units."""
        return _WIDTH * (timestamp_s - self.start_s) / (self.end_s - self.start_s)


def span_of(verdict: Verdict) -> Span:
    """From the file's start to its end; where that is unknown, to the last frame that was looked at."""
    times = [frame.timestamp_s for track in verdict.tracks for frame in track.frames]
    times += [item.timestamp_s for item in verdict.dropped]
    end = max([*times, verdict.source.duration_s or 0.0])
    start = min([0.0, *times])
    return Span(start_s=start, end_s=end if end > start else start + 1.0)


def draw(frames: Sequence[FrameScore], verdict: Verdict, *, title: str) -> Markup:
    """The SVG element. Its drawing stretches with the page; lines and dots keep their size."""
    span = span_of(verdict)
    parts = [
        f'<svg class="timeline" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img">',
        f"<title>{escape(title)}</title>",
    ]
    if verdict.abstain_high > verdict.abstain_low:
        height = _HEIGHT * (verdict.abstain_high - verdict.abstain_low)
        parts.append(f'<rect class="band" x="0" y="{_y(verdict.abstain_high):.1f}" width="{_WIDTH}" height="{height:.1f}"/>')
    for level in (0.0, 0.5, 1.0):
        parts.append(_line("grid", 0, _y(level), _WIDTH, _y(level)))
    threshold = _y(verdict.threshold)
    parts.append(_line("threshold", 0, threshold, _WIDTH, threshold))
    for run in _runs(frames):
        points = " ".join(f"{span.x(frame.timestamp_s):.1f},{_y(frame.score):.1f}" for frame in run)
        parts.append(f'<polyline class="line" points="{points}"/>')
    # A line of no length with round ends is a dot that does not stretch.
    for frame in frames:
        x, y = span.x(frame.timestamp_s), _y(frame.score)
        parts.append(_line(f"dot {zone(frame.score, verdict)}", x, y, x, y))
    parts.append("</svg>")
    # Safe to mark: numbers of ours and an escaped title.
    return Markup("".join(parts))


def zone(score: float, verdict: Verdict) -> str:
    """CSS class of a score: ``fake``, ``real``, ``uncertain``, or ``none`` where scores mean nothing."""
    if verdict.reason == "untrained_model":
        return "none"
    if verdict.abstain_low < score < verdict.abstain_high:
        return "uncertain"
    return "fake" if score >= verdict.threshold else "real"


def _runs(frames: Sequence[FrameScore]) -> list[list[FrameScore]]:
    steps = [later.timestamp_s - earlier.timestamp_s for earlier, later in pairwise(frames)]
    longest = _GAP * median(steps) if steps else 0.0
    runs: list[list[FrameScore]] = []
    for index, frame in enumerate(frames):
        if index and steps[index - 1] <= longest:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return [run for run in runs if len(run) > 1]


def _y(score: float) -> float:
    return _HEIGHT * (1.0 - score)


def _line(kind: str, x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'
