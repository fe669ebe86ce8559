"""``unmask bench compare``: two result files, series by series."""

from dataclasses import dataclass

from benchmarks.errors import RecordError
from benchmarks.record import Record, Series
from benchmarks.samples import LEAST_SAMPLES, median_ratio

RATE_TOLERANCE = 0.01
"""Open loops are comparable when their rates differ by no more than this share."""
_EFFORT = (
    "repeats",
    "budget_s",
    "reference_repeats",
    "duration_s",
    "open_duration_s",
    "open_percent",
    "open_loops",
    "clients",
    "perf_analyzer",
)
"""Settings that say how much was measured, and not of what: they may differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One series that both files have. Above 1: the second run took longer."""

    name: str
    ratio: float
    low: float
    high: float
    """95% bootstrap interval of the ratio."""
    enough: bool = True
    """False where one of the runs has too few samples for an interval to mean anything."""

    def regressed(self, threshold: float) -> bool:
        """True when the second run is slower by more than ``threshold`` (0.1 is 10%), and the interval leaves no doubt that it is
        slower at all."""
        return self.enough and self.ratio > 1 + threshold and self.low > 1


def compare(before: Record, after: Record) -> list[Difference]:
    """Ratios of the medians of all series of times that both have, but for open loops of different rates.

    Raises:
        RecordError: They measured different things, or share nothing.
    """
    if before.kind != after.kind:
        raise RecordError(f"one file is a run of bench {before.kind}, the other of bench {after.kind}; compare two of a kind")
    old, new = _times(before), _times(after)
    shared = [name for name in old if name in new and not _other_rate(old[name], new[name])]
    if not shared:
        raise RecordError("the two runs share no series: run both with the same --frames and paths")
    # Runs at different times: their rounds are no pairs.
    return [
        Difference(
            name,
            *median_ratio(new[name].samples, old[name].samples, paired=False),
            min(len(new[name].samples), len(old[name].samples)) >= LEAST_SAMPLES,
        )
        for name in shared
    ]


def remarks(before: Record, after: Record) -> list[str]:
    """What a reader of the ratios must know: what was left out, and what the two runs did not have in common."""
    old, new = _times(before), _times(after)
    found = [f"only in one of the files: {name}" for name in sorted(old.keys() ^ new.keys())]
    found += [
        f"not compared, for their rates differ ({old[name].labels['load']:g} and {new[name].labels['load']:g} requests/s): {name}"
        for name in sorted(old.keys() & new.keys())
        if _other_rate(old[name], new[name])
    ]
    for key in sorted(before.settings.keys() | after.settings.keys()):
        values = before.settings.get(key), after.settings.get(key)
        if values[0] != values[1] and key not in _EFFORT:
            found.append(f"the two runs differ in {key}: {values[0]} and {values[1]}")
    if before.machine != after.machine:
        found.append("the two runs are from different machines")
    return found


def _times(record: Record) -> dict[str, Series]:
    return {series.name: series for series in record.series if series.unit == "s" and series.samples}


def _other_rate(old: Series, new: Series) -> bool:
    if old.labels.get("kind") != "open":
        return False
    rates = float(old.labels["load"]), float(new.labels.get("load", 0.0))
    return abs(rates[0] - rates[1]) > RATE_TOLERANCE * max(rates)
