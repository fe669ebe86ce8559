"""Figures of a binary detector, with intervals. Fake is the positive class; scores are probabilities of fake."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import EvaluationError

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and the 95 % bootstrap interval round it; None where there is but one person or thing to draw."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one set of scored clips or frames says."""

    count: int
    real: int
    fake: int
    accuracy: Interval
    balanced_accuracy: Interval
    auc: Interval | None
    """None where only one class is there."""
    average_precision: Interval | None
    equal_error_rate: Interval | None
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None
    false_alarm_rate: Interval | None
    expected_calibration_error: Interval
    brier: Interval
    confusion: tuple[tuple[int, int], tuple[int, int]]
    """Rows: truly real, truly fake; columns: called real, called fake."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    labels: Sequence[int] | Labels, scores: Sequence[float] | Scores, *, threshold: float, groups: Sequence[str] | None = None,
    resamples: int = 500, seed: int = 0,
) -> Figures:  # fmt: skip
    """All figures of a set.

    Args:
        labels: 0 real, 1 fake.
        groups: Who or what each score belongs to; whole groups are drawn again, because the clips of one person are not
            independent. None: each score is its own.

    Raises:
        EvaluationError: Nothing to measure, or a score is no probability.
    """
    from sklearn import metrics

    y, s = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    if len(y) == 0 or len(y) != len(s):
        raise EvaluationError(f"{len(y)} labels and {len(s)} scores; as many of both are needed, and at least one")
    if not (np.isfinite(s).all() and s.min() >= 0 and s.max() <= 1):
        raise EvaluationError(f"scores range from {s.min()} to {s.max()}; they must be probabilities")
    called = (s >= threshold).astype(np.int64)
    both = len(set(y.tolist())) == 2
    draws = _draws(len(y), groups, resamples, seed)
    single = len(set(groups) if groups is not None else y) < 2

    def interval(figure: Callable[[Labels, Scores, Labels], float]) -> Interval:
        values = [figure(y[d], s[d], called[d]) for d in draws if not both or len(set(y[d].tolist())) == 2]
        if single or not values:
            return Interval(value=figure(y, s, called), low=None, high=None)
        low, high = np.nanpercentile(values, [2.5, 97.5])
        return Interval(value=figure(y, s, called), low=float(low), high=float(high))

    matrix = metrics.confusion_matrix(y, called, labels=[0, 1])
    (tn, fp), (fn, tp) = matrix.tolist()
    return Figures(
        count=len(y),
        real=int((y == 0).sum()),
        fake=int((y == 1).sum()),
        accuracy=interval(lambda a, _, c: float((a == c).mean())),
        balanced_accuracy=interval(lambda a, _, c: float(np.mean([(c[a == k] == k).mean() for k in set(a.tolist())]))),
        auc=interval(lambda a, b, _: float(metrics.roc_auc_score(a, b))) if both else None,
        average_precision=interval(lambda a, b, _: float(metrics.average_precision_score(a, b))) if both else None,
        equal_error_rate=interval(lambda a, b, _: equal_error_rate(a, b)) if both else None,
        precision=interval(lambda a, _, c: _share(a[c == 1] == 1)) if tp + fp else None,
        recall=interval(lambda a, _, c: _share(c[a == 1] == 1)) if tp + fn else None,
        f1=interval(_f1) if tp + fp + fn else None,
        false_alarm_rate=interval(lambda a, _, c: _share(c[a == 0] == 1)) if fp + tn else None,
        expected_calibration_error=interval(lambda a, b, _: calibration_error(a, b)),
        brier=interval(lambda a, b, _: float(((b - a) ** 2).mean())),
        confusion=((tn, fp), (fn, tp)),
    )


def _share(hits: NDArray[np.bool_]) -> float:
    """NaN where a draw has none to count: such a draw says nothing."""
    return float(hits.mean()) if len(hits) else float("nan")


def _f1(labels: Labels, _: Scores, called: Labels) -> float:
    hits, wrong = int(((labels == 1) & (called == 1)).sum()), int((labels != called).sum())
    return 2 * hits / (2 * hits + wrong) if hits + wrong else float("nan")


def equal_error_rate(labels: Labels, scores: Scores) -> float:
    """Rate at which false alarms and misses are equal, read off the ROC by linear interpolation."""
    from sklearn.metrics import roc_curve

    false_alarms, hits, _ = roc_curve(labels, scores)
    difference = false_alarms - (1 - hits)
    at = int(np.argmax(difference >= 0))
    if at == 0:
        return float(false_alarms[0])
    a, b = difference[at - 1], difference[at]
    weight = -a / (b - a) if b > a else 0.0
    return float(false_alarms[at - 1] + weight * (false_alarms[at] - false_alarms[at - 1]))


def calibration_error(labels: Labels, scores: Scores, bins: int = 10) -> float:
    """Expected calibration error with equal-width bins (Naeini et al., AAAI 2015)."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [
        abs(scores[place == b].mean() - labels[place == b].mean()) * (place == b).sum()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps) / len(labels))


def _draws(count: int, groups: Sequence[str] | None, resamples: int, seed: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    if groups is None:
        return [rng.integers(0, count, count) for _ in range(resamples)]
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    lists = [np.array(indices, np.int64) for indices in members.values()]
    return [np.concatenate([lists[i] for i in rng.integers(0, len(lists), len(lists))]) for _ in range(resamples)]
