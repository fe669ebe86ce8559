"""Which frames are looked at."""

import numpy as np
import pytest
from numpy.typing import NDArray

from preprocess import ExtractionOptions
from preprocess.errors import ClipTooShortError, EmptySpanError, OptionError
from preprocess.sampling import SamplePlan, plan_samples

TEN_SECONDS = np.arange(250) / 25


def plan(times_s: NDArray[np.float64] = TEN_SECONDS, **changes: object) -> SamplePlan:
    return plan_samples(times_s, ExtractionOptions(image_size_px=112, crop_margin=1.3, **changes))  # type: ignore[arg-type]


def test_uniform_takes_the_middle_of_equal_shares() -> None:
    assert plan(frames=5).indices.tolist() == [25, 75, 125, 175, 225]


def test_uniform_is_spread_for_every_count() -> None:
    for frames in range(1, 251):
        indices = plan(frames=frames).indices
        gaps = np.diff(indices)
        assert len(indices) == frames
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_first_is_what_the_reference_projects_take() -> None:
    assert plan(frames=7, sampling="first").indices.tolist() == list(range(7))


def test_interval_follows_time_and_not_frame_numbers() -> None:
    times_s = np.concatenate([np.arange(50) / 50, 1 + np.arange(30) / 10])
    picked = plan(times_s, frames=100, sampling="interval", interval_s=0.5)
    np.testing.assert_allclose(picked.timestamps_s, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5])


def test_interval_says_when_frames_do_not_reach_the_end() -> None:
    picked = plan(frames=3, sampling="interval", interval_s=1.0)
    assert len(picked.indices) == 3
    assert "gives 10 frames; the first 3 are used" in picked.notes[0]


def test_window_gives_runs_of_consecutive_frames() -> None:
    indices = plan(frames=32, sampling="window", window_frames=8).indices
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    assert [len(run) for run in runs] == [8, 8, 8, 8]
    assert indices[0] > 0
    assert indices[-1] < 249


def test_window_with_a_rest_gives_exactly_the_frames_asked_for() -> None:
    for frames in (1, 5, 16, 17, 100, 249, 250):
        assert len(plan(frames=frames, sampling="window", window_frames=16).indices) == frames


def test_span_is_half_open() -> None:
    picked = plan(frames=250, start_s=2.0, end_s=4.0)
    assert (picked.indices[0], picked.indices[-1]) == (50, 99)


def test_empty_span_says_how_long_the_file_is() -> None:
    with pytest.raises(
        EmptySpanError, match=r"no frame lies in \[20 s, end\): the file has 250 frames, the last one at 9.960 s"
    ):
        plan(start_s=20.0)


def test_short_clip_policies() -> None:
    short = TEN_SECONDS[:3]
    assert plan(short, frames=5).indices.tolist() == [0, 1, 2]
    repeated = plan(short, frames=5, short_clip="repeat_last")
    assert repeated.indices.tolist() == [0, 1, 2]
    assert repeated.repeats.tolist() == [1, 1, 3]
    assert "the last one is repeated 2 times" in repeated.notes[0]
    with pytest.raises(ClipTooShortError, match="3 frames are there, 5 were asked for"):
        plan(short, frames=5, short_clip="error")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 0),
        ("crop_margin", 0.9),
        ("image_size_px", 8),
        ("sampling", "random"),
        ("short_clip", "wrap"),
        ("interval_s", float("nan")),
        ("window_frames", 0),
        ("start_s", -1.0),
        ("end_s", 0.0),
    ],
)
def test_options_outside_their_range_are_named(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name} is {value!r}; it must be"):
        ExtractionOptions(**{"image_size_px": 112, "crop_margin": 1.3, name: value})  # type: ignore[arg-type]
