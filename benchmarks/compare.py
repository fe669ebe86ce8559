"""``unmask bench compare``: two result files, series by series."""

from dataclasses import dataclass

from benchmarks.errors import RecordError
from benchmarks.record import Record
from benchmarks.samples import median_ratio


@dataclass(frozen=True, slots=True)
class Difference:
    """One series that both files have. Above 1: the second run took longer."""

    name: str
    ratio: float
    low: float
    high: float
    """95% bootstrap interval of the ratio."""

    def regressed(self, threshold: float) -> bool:
        """True when the second run is slower by more than ``threshold`` (0.1 is 10%), and the interval leaves no doubt that it is
        slower at all."""
        return self.ratio > 1 + threshold and self.low > 1


def compare(before: Record, after: Record) -> list[Difference]:
    """Ratios of the medians of all series of times that both have.

    Raises:
        RecordError: They measured different things, or share nothing.
    """
    if before.kind != after.kind:
        raise RecordError(f"one file is a run of bench {before.kind}, the other of bench {after.kind}; compare two of a kind")
    old = {series.name: series for series in before.series if series.unit == "s" and series.samples}
    new = {series.name: series for series in after.series if series.unit == "s" and series.samples}
    shared = [name for name in old if name in new]
    if not shared:
        raise RecordError("the two runs share no series: run both with the same --frames and paths")
    # Runs at different times: their rounds are no pairs.
    return [Difference(name, *median_ratio(new[name].samples, old[name].samples, paired=False)) for name in shared]


def missing(before: Record, after: Record) -> list[str]:
    """Names of series that only one of the files has."""
    old, new = ({series.name for series in record.series if series.unit == "s"} for record in (before, after))
    return sorted(old ^ new)
