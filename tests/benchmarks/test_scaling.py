"""The model on paper gives back what it was fitted to."""

import pytest

from benchmarks.errors import UsageError
from benchmarks.record import Record, Series
from benchmarks.scaling import fit, report


def frames_run(lengths: tuple[int, ...]) -> Record:
    """A server that takes 5 ms a request and 2 ms a frame."""
    series = [
        Series(name=f"grpc T={t}", unit="s", samples=[0.005 + 0.002 * t], labels={"path": "grpc", "frames": t}) for t in lengths
    ]
    return Record(kind="frames", settings={}, series=series)


def test_fixed_and_per_frame_cost_are_found() -> None:
    model = fit(frames_run((1, 20, 100)))
    assert (model.fixed_s, model.per_frame_s) == pytest.approx((0.005, 0.002))
    assert model.worst_error == pytest.approx(0.0, abs=1e-9)
    assert model.frames_per_s() == pytest.approx(500)


def test_two_lengths_are_too_few() -> None:
    with pytest.raises(UsageError, match="2 lengths"):
        fit(frames_run((1, 100)))


def test_estimates_name_their_assumptions() -> None:
    text = report(frames_run((1, 20, 100)), None, operations_per_frame=2.2e9)
    assert "a node of 64 such cores" in text
    assert text.count("assumed, not measured") == 2
