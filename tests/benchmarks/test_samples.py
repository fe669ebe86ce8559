"""Percentiles, bootstrap intervals, ratios."""

import numpy as np
import pytest

from benchmarks.samples import median_interval, median_ratio, relative_width, summarise


def test_percentiles_are_those_of_the_samples() -> None:
    summary = summarise([float(value) for value in range(1, 101)])
    assert (summary.count, summary.minimum, summary.maximum) == (100, 1.0, 100.0)
    assert (summary.p50, summary.p90) == pytest.approx((50.5, 90.1))
    assert summary.p50_low < summary.p50 < summary.p50_high


def test_the_interval_of_the_median_covers_it_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        low, high = median_interval(random.lognormal(0.0, 0.5, 30))
        covered += low <= 1.0 <= high
    assert 88 <= covered <= 100


def test_more_samples_give_a_narrower_interval_and_few_give_none() -> None:
    random = np.random.default_rng(2)
    values = random.lognormal(0.0, 0.3, 400).tolist()
    assert relative_width(values) < relative_width(values[:20])
    assert relative_width(values[:4]) == float("inf")


def test_a_ratio_of_runs_in_turns_is_tighter_than_the_noise_that_hit_both() -> None:
    random = np.random.default_rng(3)
    noise = random.lognormal(0.0, 0.5, 40)
    slow, fast = (2.0 * noise).tolist(), noise.tolist()
    ratio, low, high = median_ratio(slow, fast)
    assert (ratio, low, high) == pytest.approx((2.0, 2.0, 2.0))
    _, low, high = median_ratio(slow, fast, paired=False)
    assert low < 1.9
    assert high > 2.1


def test_long_series_are_summarised_too() -> None:
    values = np.random.default_rng(4).exponential(1.0, 20_000)
    low, high = median_interval(values)
    assert low < np.log(2) < high
