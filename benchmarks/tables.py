"""Result files as tables on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.compare import Difference
from benchmarks.record import Record, Series


def show(record: Record, console: Console | None = None) -> None:
    """Prints a run: its series, its promises and its notes."""
    console = console or Console()
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
        shares = ", ".join(
            f"{s.name} {100 * s.figures['share_of_peak']:.0f}%" for s in record.series if "share_of_peak" in s.figures
        )
        console.print(f"measured peak of matrix products, GFLOP/s: {peaks}; share of it that is used: {shares}")
    for note in record.notes:
        console.print(f"note: {note}")
    if record.state != "complete":
        console.print(f"{record.state}: {record.reason}; what was measured until then is kept")


def _series_table(record: Record) -> Table:
    table = Table(title=f"unmask bench {record.kind}")
    table.add_column("measured")
    for heading in ("n", "p50 ms", "± ms", "p90", "p95", "p99", "frames/s"):
        table.add_column(heading, justify="right")
    if record.figures.get("ratio_to_baseline"):
        table.add_column("x PyTorch eager", justify="right")
    for row in rows(record):
        table.add_row(*row)
    return table


def rows(record: Record) -> list[list[str]]:
    """One row of text a series of times: name, count, p50, half its interval, p90, p95, p99, frames/s, and the ratio where there is one."""
    ratios = record.figures.get("ratio_to_baseline", {})
    result = []
    for series in record.series:
        if series.unit != "s" or not series.samples:
            continue
        cells = _cells(series)
        if ratios:
            ratio = ratios.get(series.name)
            cells.append(f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})" if ratio else "")
        result.append(cells)
    return result


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
        table.add_row(item.name, f"{item.ratio:.3f}", f"{item.low:.3f} to {item.high:.3f}", word)
    (console or Console()).print(table)
