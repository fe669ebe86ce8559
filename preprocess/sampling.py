"""Which frames are looked at: pure functions of the presentation times and the options."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import ClipTooShortError, EmptySpanError
from preprocess.options import ExtractionOptions


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Frames to decode, in order and without repetition, and how often each stands in the clip."""

    indices: NDArray[np.int64]
    """Positions in presentation order, strictly rising, (S,)."""
    repeats: NDArray[np.int64]
    """How often each index is given, (S,): 1 but for the last one with ``short_clip="repeat_last"``."""
    timestamps_s: NDArray[np.float64]
    """Presentation times of the indices, (S,)."""
    notes: tuple[str, ...]


def plan_samples(timestamps_s: NDArray[np.float64], options: ExtractionOptions) -> SamplePlan:
    """Chooses frames of a video.

    Args:
        timestamps_s: Presentation times of all its frames, rising, (N,).

    Raises:
        EmptySpanError: No frame lies in [start_s, end_s).
        ClipTooShortError: Fewer frames than asked for, with ``short_clip="error"``.
    """
    low = 0 if options.start_s is None else int(np.searchsorted(timestamps_s, options.start_s, side="left"))
    high = len(timestamps_s) if options.end_s is None else int(np.searchsorted(timestamps_s, options.end_s, side="left"))
    if low >= high:
        last_s = float(timestamps_s[-1]) if len(timestamps_s) else 0.0
        raise EmptySpanError(
            f"no frame lies in [{options.start_s or 0:g} s, {'end' if options.end_s is None else f'{options.end_s:g} s'}): "
            f"the file has {len(timestamps_s)} frames, the last one at {last_s:.3f} s; move start or end"
        )
    notes: list[str] = []
    count = high - low
    wanted = options.frames
    if options.sampling == "interval":
        indices, full = _every(timestamps_s[low:high], options.interval_s)
        if full > wanted:
            notes.append(
                f"a frame every {options.interval_s:g} s gives {full} frames; the first {wanted} are used: "
                "ask for more frames or a longer interval to cover the rest"
            )
            indices = indices[:wanted]
        wanted = min(wanted, full)
    elif count <= wanted:
        indices = np.arange(count)
    elif options.sampling == "first":
        indices = np.arange(wanted)
    elif options.sampling == "window":
        indices = _windows(count, wanted, min(options.window_frames, wanted))
    else:
        # The middle of each of `wanted` equal shares, as temporal segment networks are tested (Wang et al. 2016).
        indices = ((2 * np.arange(wanted) + 1) * count) // (2 * wanted)
    indices = (indices + low).astype(np.int64)
    repeats = np.ones(len(indices), np.int64)
    lacking = wanted - len(indices)
    if lacking > 0:
        if options.short_clip == "error":
            raise ClipTooShortError(
                f"{len(indices)} frames are there, {wanted} were asked for; ask for fewer or let short_clip be "
                "'shorten' or 'repeat_last'"
            )
        if options.short_clip == "repeat_last":
            repeats[-1] += lacking
            notes.append(f"{len(indices)} frames are there, {wanted} were asked for: the last one is repeated {lacking} times")
        else:
            notes.append(f"{len(indices)} frames are there, {wanted} were asked for: all of them are used")
    return SamplePlan(indices, repeats, timestamps_s[indices], tuple(notes))


def _every(timestamps_s: NDArray[np.float64], interval_s: float) -> tuple[NDArray[np.int64], int]:
    """First frame at or after each multiple of the interval, counted from the first frame; each frame once."""
    span_s = float(timestamps_s[-1] - timestamps_s[0])
    # The tolerance of a microsecond is against rounding of container ticks, not a matter of taste.
    ticks_s = timestamps_s[0] + interval_s * np.arange(int(span_s / interval_s + 1e-6) + 1) - 1e-6
    indices = np.unique(np.searchsorted(timestamps_s, ticks_s, side="left"))
    return indices[indices < len(timestamps_s)], len(indices)


def _windows(count: int, wanted: int, run: int) -> NDArray[np.int64]:
    """``wanted`` of ``count`` frames as runs of ``run`` consecutive ones, what is spare spread evenly between them."""
    place = np.arange(wanted)
    runs = -(-wanted // run)
    indices: NDArray[np.int64] = place + (2 * (place // run) + 1) * (count - wanted) // (2 * runs)
    return indices
