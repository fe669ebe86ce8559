"""The model on paper gives back what it was fitted to."""

import pytest

from benchmarks.errors import UsageError
from benchmarks.record import Record, Series
from benchmarks.scaling import ONE_THREAD, fit, report


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


def closed_loops(**frames_per_s: float) -> Record:
    """A load run: frames a second by number of clients, 40 frames a request."""
    series = [
        Series(
            name=name, unit="s", samples=[0.1], labels={"kind": "closed", "load": float(name[1:]), "outcome": "answered"},
            figures={"frames_per_s": value},
        )
        for name, value in frames_per_s.items()
    ]  # fmt: skip
    return Record(kind="load", settings={"frames": [20, 40, 60]}, series=series)


def test_estimates_name_their_assumptions() -> None:
    text = report({"frames": frames_run((1, 20, 100))}, operations_per_frame=2.2e9)
    assert "a node of 64 such cores" in text
    assert text.count("assumed, not measured") == 2


def test_the_model_is_held_against_what_clients_really_got() -> None:
    run = frames_run((1, 20, 100))
    text = report({"frames": run, "load": closed_loops(c1=400.0, c4=450.0)}, operations_per_frame=2.2e9)
    # 40 frames in 5 ms + 40 x 2 ms; at most 500 frames/s.
    assert "one client with 40 frames a request should get 471 frames/s and got 400 (85%)" in text
    assert "the best closed loop (4 clients) reached 450 frames/s, 90% of the ceiling" in text
    copies = 64 / run.machine["cores"]
    assert f"{450 * copies * 0.6:,.0f} to {500 * copies * 0.85:,.0f} frames/s" in text


def test_a_run_on_one_thread_says_what_the_others_bring() -> None:
    run, alone = frames_run((1, 20, 100)), frames_run((1, 20, 100))
    run.machine = alone.machine = {**run.machine, "cores": 2}
    for series in alone.series:
        series.samples = [0.005 + 0.003 * int(series.labels["frames"])]
    assert "each of 2 cores gives 75%" in report({"frames": run, ONE_THREAD: alone}, operations_per_frame=2.2e9)


def test_runs_of_different_machines_make_no_estimate() -> None:
    other = closed_loops(c1=400.0)
    other.machine = {**other.machine, "cores": 4096}
    with pytest.raises(UsageError, match="another machine"):
        report({"frames": frames_run((1, 20, 100)), "load": other}, operations_per_frame=2.2e9)


def test_a_frames_run_is_needed() -> None:
    with pytest.raises(UsageError, match="bench frames"):
        report({"load": closed_loops(c1=400.0)}, operations_per_frame=2.2e9)
