"""Figures, intervals, calibration."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.calibrate import calibrate
from training.errors import EmptyClassError, EvaluationError
from training.metrics import Interval, calibration_error, equal_error_rate, measure


def drawn(count: int = 400, gap: float = 2.0, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    return labels, rng.normal(0, 1, count) + gap * (labels - 0.5)


def test_figures_of_a_known_case() -> None:
    labels, scores = [0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.7, 0.6, 0.8, 0.9]
    figures = measure(labels, scores, threshold=0.5)
    assert figures.confusion == ((2, 1), (0, 3))
    assert figures.accuracy.value == pytest.approx(5 / 6)
    assert figures.auc is not None
    assert figures.auc.value == pytest.approx(8 / 9)
    assert figures.precision is not None
    assert figures.recall is not None
    assert figures.false_alarm_rate is not None
    assert (figures.precision.value, figures.recall.value) == (0.75, 1.0)
    assert figures.false_alarm_rate.value == pytest.approx(1 / 3)
    assert figures.brier.value == pytest.approx(np.mean((np.array(scores) - labels) ** 2))


def width(figure: Interval) -> float:
    assert figure.low is not None
    assert figure.high is not None
    return figure.high - figure.low


def test_the_interval_holds_the_truth_and_shrinks_with_more_clips() -> None:
    widths = []
    for count in (60, 2000):
        labels, margins = drawn(count, seed=2)
        auc = measure(labels, 1 / (1 + np.exp(-margins)), threshold=0.5, resamples=200).auc
        assert auc is not None
        assert auc.low is not None
        assert auc.high is not None
        # Two normals a distance 2 apart: AUC = Phi(2 / sqrt 2).
        assert auc.low < 0.9214 < auc.high
        widths.append(auc.high - auc.low)
    assert widths[1] < 0.4 * widths[0]


def test_clips_of_one_person_widen_the_interval() -> None:
    labels, margins = drawn(40)
    labels, margins = np.repeat(labels, 10), np.repeat(margins, 10)
    scores = 1 / (1 + np.exp(-margins))
    alone = measure(labels, scores, threshold=0.5, resamples=200).auc
    people = measure(labels, scores, threshold=0.5, resamples=200, groups=[str(i // 10) for i in range(400)]).auc
    assert alone is not None
    assert people is not None
    assert width(people) > 1.5 * width(alone)


def test_one_person_alone_has_no_interval() -> None:
    labels, margins = drawn(40)
    figures = measure(labels, 1 / (1 + np.exp(-margins)), threshold=0.5, groups=["ann"] * 40)
    assert figures.auc is not None
    assert figures.auc.value > 0.7
    assert (figures.auc.low, figures.auc.high) == (None, None)


def test_one_class_has_no_auc_but_a_false_alarm_rate() -> None:
    figures = measure([0, 0, 0, 0], [0.1, 0.9, 0.2, 0.3], threshold=0.5)
    assert figures.auc is None
    assert figures.false_alarm_rate is not None
    assert figures.false_alarm_rate.value == 0.25
    assert figures.recall is None


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [0.5, 1.5]])
def test_scores_that_are_no_probabilities_are_refused(scores: list[float]) -> None:
    with pytest.raises(EvaluationError):
        measure([0, 1][: len(scores)], scores, threshold=0.5)


def test_errors_of_known_cases() -> None:
    assert equal_error_rate(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == 0.0
    assert equal_error_rate(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(0.5)
    assert calibration_error(np.array([0, 0, 1, 1]), np.array([0.5, 0.5, 0.5, 0.5])) == 0.0
    assert calibration_error(np.array([0, 0]), np.array([1.0, 1.0])) == 1.0


def test_temperature_undoes_overconfidence() -> None:
    labels, margins = drawn(4000)
    # A margin of 2x the log-odds: the temperature that mends it is 2 / 2 x 2.
    fitted = calibrate(margins * 4.0, labels)
    assert fitted.temperature == pytest.approx(2.0, rel=0.15)
    scores = 1 / (1 + np.exp(-margins * 4 / fitted.temperature))
    assert calibration_error(labels, scores) < 0.04


def test_the_threshold_is_the_best_that_false_alarms_allow() -> None:
    labels, margins = drawn(4000)
    free = calibrate(margins, labels, max_false_alarms=1.0)
    assert free.threshold == pytest.approx(0.5, abs=0.1)
    strict = calibrate(margins, labels)
    scores = 1 / (1 + np.exp(-margins / strict.temperature))
    assert 0.03 < (scores[labels == 0] >= strict.threshold).mean() <= 0.051
    # Genuine clips of another kind count too, also where they score above all else.
    further = calibrate(margins, labels, genuine_margins=np.full(400, 9.0))
    assert further.threshold > 0.99


def test_the_band_keeps_false_alarms_and_misses_below_what_was_asked() -> None:
    labels, margins = drawn(2000, gap=1.0)
    fitted = calibrate(margins, labels, max_certain_false_alarms=0.02, max_misses=0.1)
    scores = 1 / (1 + np.exp(-margins / fitted.temperature))
    assert fitted.abstain_low < fitted.threshold < fitted.abstain_high
    assert (scores[labels == 0] >= fitted.abstain_high).mean() <= 0.025
    assert (scores[labels == 1] <= fitted.abstain_low).mean() <= 0.105


def test_genuine_videos_raise_the_upper_bound() -> None:
    labels, margins = drawn(400, gap=4.0)
    alone = calibrate(margins, labels)
    more = calibrate(margins, labels, genuine_margins=np.full(50, 3.0))
    assert more.abstain_high > alone.abstain_high


def test_calibration_needs_both_classes() -> None:
    with pytest.raises(EmptyClassError, match=r"labels \[1\]"):
        calibrate(np.array([1.0, 2.0]), np.array([1, 1]))
