"""Result files as tables on the terminal."""

import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.compare import Difference
from benchmarks.record import Record, Series
from benchmarks.samples import LEAST_SAMPLES


def _console() -> Console:
    """The terminal; a file or a pipe has no width, and gets one that cuts nothing off."""
    return Console(width=None if sys.stdout.isatty() else 160)


def show(record: Record, console: Console | None = None) -> None:
    """Prints a run: its series, its promises and its notes."""
    console = console or _console()
    console.print(_series_table(record))
    if record.checks:
        table = Table(title="promises")
        for heading in ("promise", "measured", "limit", ""):
            table.add_column(heading)
        for check in record.checks:
            table.add_row(
                check.name, f"{check.value:.3g}", f"{check.relation} {check.limit:g}", "kept" if check.passed else "MISSED"
            )
        console.print(table)
    if record.figures.get("peak_gflops"):
        peaks = ", ".join(f"{name} {value:.0f}" for name, value in record.figures["peak_gflops"].items())
        console.print(f"measured peak of matrix products, GFLOP/s: {peaks}")
    for note in record.notes:
        console.print(f"note: {note}")
    if record.state != "complete":
        console.print(f"{record.state}: {record.reason}; what was measured until then is kept")


def _series_table(record: Record) -> Table:
    table = Table(title=f"unmask bench {record.kind}")
    for number, heading in enumerate(headings(record)):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows(record):
        table.add_row(*row)
    return table


def headings(record: Record) -> list[str]:
    """Headings of the columns of ``rows``."""
    return [
        "measured",
        "n",
        "p50 ms",
        "± ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "frames/s",
        *(heading for heading, _ in _extras(record)),
    ]


def rows(record: Record) -> list[list[str]]:
    """One row of text a series of times, under ``headings``."""
    extras = _extras(record)
    return [
        [*_cells(series), *(cell(series) for _, cell in extras)]
        for series in record.series
        if series.unit == "s" and series.samples
    ]


def _extras(record: Record) -> list[tuple[str, Callable[[Series], str]]]:
    """Columns that only some kinds of run have: the heading, and the cell of a series."""
    ratios = record.figures.get("ratio_to_baseline", {})
    sizes = record.figures.get("size_bytes", {})

    def ratio(series: Series) -> str:
        found = ratios.get(series.name)
        return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})" if found else ""

    def size(series: Series) -> str:
        found = sizes.get(series.labels.get("engine"))
        return f"{found / 1e6:.0f}" if found else ""

    def share(series: Series) -> str:
        return f"{100 * series.figures['share_of_peak']:.0f}%" if "share_of_peak" in series.figures else ""

    def memory(series: Series) -> str:
        return f"{series.figures['server_memory_mb']:.0f}" if "server_memory_mb" in series.figures else ""

    columns = (("× PyTorch eager", ratio), ("size MB", size), ("of peak", share), ("server MB", memory))
    return [(heading, cell) for heading, cell in columns if any(cell(series) for series in record.series)]


def _cells(series: Series) -> list[str]:
    summary = series.to_dict()["summary"]
    half_ms = 1e3 * (summary["p50_high"] - summary["p50_low"]) / 2
    tail: Sequence[str] = [f"{1e3 * summary[key]:.1f}" for key in ("p90", "p95", "p99")]
    rate = series.figures.get("frames_per_s")
    return [
        series.name,
        str(summary["count"]),
        f"{1e3 * summary['p50']:.1f}",
        f"{half_ms:.1f}",
        *tail,
        f"{rate:.0f}" if rate else "",
    ]


def show_differences(differences: Sequence[Difference], threshold: float, console: Console | None = None) -> None:
    """Prints a comparison."""
    table = Table(title="second run / first run (p50)")
    for heading in ("measured", "ratio", "95% interval", ""):
        table.add_column(heading)
    for item in differences:
        word = "SLOWER" if item.regressed(threshold) else "faster" if item.high < 1 and item.ratio < 1 - threshold else ""
        interval = f"{item.low:.3f} to {item.high:.3f}" if item.enough else f"too few samples ({LEAST_SAMPLES} needed)"
        table.add_row(item.name, f"{item.ratio:.3f}", interval, word if item.enough else "")
    (console or _console()).print(table)
