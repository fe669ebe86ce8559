"""Measuring in turns."""

import pytest

from benchmarks.rounds import Candidate, Effort, measure


def test_every_candidate_is_measured_equally_often_and_in_turns() -> None:
    calls: list[str] = []
    candidates = [Candidate(name, lambda name=name: calls.append(name)) for name in "abc"]  # type: ignore[misc]
    measure(candidates, Effort(warm_up=0, min_repeats=4, max_repeats=4))
    assert [len(candidate.samples_s) for candidate in candidates] == [4, 4, 4]
    for start in range(0, 12, 3):
        assert sorted(calls[start : start + 3]) == ["a", "b", "c"]
    assert len({"".join(calls[start : start + 3]) for start in range(0, 12, 3)}) > 1, "the order is drawn anew each round"


def test_warm_up_is_not_counted() -> None:
    calls: list[int] = []
    candidate = Candidate("a", lambda: calls.append(1))
    measure([candidate], Effort(warm_up=3, min_repeats=2, max_repeats=2))
    assert (len(calls), len(candidate.samples_s)) == (5, 2)


def test_more_rounds_than_the_usual_most_may_be_asked_for() -> None:
    candidate = Candidate("a", lambda: None)
    measure([candidate], Effort(warm_up=0, min_repeats=12, max_repeats=10, target=1e9))
    assert len(candidate.samples_s) == 12


def test_the_budget_ends_a_measurement_that_does_not_settle() -> None:
    candidate = Candidate("a", lambda: None)
    measure([candidate], Effort(min_repeats=3, max_repeats=10**9, budget_s=0.05, target=0.0))
    assert 3 <= len(candidate.samples_s) < 10**9


def test_what_was_measured_before_a_failure_is_kept() -> None:
    calls: list[int] = []

    def breaks() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise ConnectionError("gone")

    candidate = Candidate("a", breaks)
    with pytest.raises(ConnectionError):
        measure([candidate], Effort(warm_up=0, min_repeats=10))
    assert len(candidate.samples_s) == 3
