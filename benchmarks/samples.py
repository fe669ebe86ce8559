"""Statistics of samples that were measured on a machine where other things happen, too.

Medians and percentile bootstraps (Efron 1979) rather than means and normal intervals: latencies are skewed to one side.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEAST_SAMPLES = 5
"""Below this a bootstrap says nothing."""
_SEED = 20261120
_MOST_RESAMPLED = 5000
"""Longer series are thinned for the bootstrap alone: its memory is samples x resamples."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles of one series, in the series' unit, with the 95% interval of the median."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    minimum: float
    maximum: float
    p50_low: float
    p50_high: float

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a result file."""
        return {key: round(value, 9) if isinstance(value, float) else value for key, value in asdict(self).items()}


def summarise(samples: Sequence[float]) -> Summary:
    """The summary of at least one sample."""
    values = np.asarray(samples, float)
    p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99))
    low, high = median_interval(values)
    return Summary(
        len(values), float(values.mean()), float(p50), float(p90), float(p95), float(p99), float(values.min()),
        float(values.max()), low, high,
    )  # fmt: skip


def median_interval(samples: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """95% bootstrap interval of the median; the sample itself where there is only one."""
    medians = _medians(np.asarray(samples, float), np.random.default_rng(_SEED))
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)


def relative_width(samples: Sequence[float]) -> float:
    """Half the interval of the median as a share of the median; infinite below ``LEAST_SAMPLES``."""
    if len(samples) < LEAST_SAMPLES:
        return float("inf")
    low, high = median_interval(samples)
    return (high - low) / 2 / float(np.median(samples))


def median_ratio(
    numerator: Sequence[float], denominator: Sequence[float], *, paired: bool = True
) -> tuple[float, float, float]:
    """Ratio of two medians with its 95% bootstrap interval: (ratio, low, high).

    With ``paired``, series of one length are taken to be measured in turns and are resampled in pairs: what slowed one round down
    slowed both.
    """
    upper, lower = np.asarray(numerator, float), np.asarray(denominator, float)
    random = np.random.default_rng(_SEED)
    if paired and len(upper) == len(lower) <= _MOST_RESAMPLED:
        rows = random.integers(0, len(upper), (RESAMPLES, len(upper)))
        ratios = np.median(upper[rows], axis=1) / np.median(lower[rows], axis=1)
    else:
        ratios = _medians(upper, random) / _medians(lower, random)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(np.median(upper) / np.median(lower)), float(low), float(high)


def _medians(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    if len(values) > _MOST_RESAMPLED:
        values = np.sort(values)[np.linspace(0, len(values) - 1, _MOST_RESAMPLED).astype(int)]
    medians: NDArray[np.float64] = np.empty(RESAMPLES)
    block = max(1, 2_000_000 // len(values))
    for start in range(0, RESAMPLES, block):
        rows = random.integers(0, len(values), (min(block, RESAMPLES - start), len(values)))
        medians[start : start + len(rows)] = np.median(values[rows], axis=1)
    return medians
