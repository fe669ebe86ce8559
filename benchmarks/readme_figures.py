"""The README's table of figures, made from the result files in ``benchmarks/results/``.

python -m benchmarks.readme_figures                      # prints the table
python -m benchmarks.readme_figures --readme README.md   # puts it there, between its two marks
python -m benchmarks.readme_figures --plots              # also writes benchmarks/results/plots/*.png

Promises that were missed stand in it like those that were kept.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError, RecordError
from benchmarks.record import Record, Series, load

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = ("engines", "frames", "pipeline", "load", "soak")
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->\n"


def read_results(folder: Path = RESULTS) -> dict[str, Record]:
    """The runs that the README quotes, by name; those that are not there are left out.

    Raises:
        RecordError: A file is not readable, or none is there.
    """
    found = {name: load(folder / f"{name}.json") for name in NAMES if (folder / f"{name}.json").exists()}
    if not found:
        raise RecordError(f"{folder} holds no result; run `unmask bench` with --out {folder}/engines.json and so on")
    return found


def table(records: dict[str, Record]) -> str:
    """A Markdown table: what was measured, the figure, the command that made it."""
    lines = ["| measured | figure | from |", "| --- | --- | --- |"]
    for name, rows in _ROWS.items():
        if name in records:
            for text, figure in rows(records[name]):
                ended = "" if records[name].state == "complete" else f" ({records[name].state})"
                lines.append(f"| {text} | {figure} | [`{name}.json`](benchmarks/results/{name}.json){ended} |")
    first = next(iter(records.values()))
    lines += [
        "",
        f"{first.machine['processor']} with {first.machine['cores']} cores "
        f"({', '.join(flag for flag in first.machine['flags'] if flag not in ('avx2', 'avx512f'))}), "
        f"{first.machine['memory_bytes'] / 2**30:.0f} GiB, {first.started_at[:10]}. Medians; ratios in turns, 95% intervals.",
    ]
    return "\n".join(lines)


def put_into(readme: str, figures: str) -> str:
    """The README's text with the table between its two marks.

    Raises:
        RecordError: It has no such marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RecordError(
            f"the README has no {BEGIN.strip()} and {END.strip()}, each on a line of its own, for the table to go between"
        )
    return f"{before}{BEGIN}{figures}\n{END}{after}"


def _limit(record: Record, name: str) -> str:
    """`` (missed: at most 2)`` where a promise was missed."""
    check = next((check for check in record.checks if check.name == name), None)
    if check is None or check.passed:
        return ""
    return f" (**missed**: at {'least' if check.relation == '>=' else 'most'} {check.limit:g})"


def _p50_ms(series: Series) -> float:
    return 1e3 * float(np.median(series.samples))


def _engines(record: Record) -> list[tuple[str, str]]:
    rows = []
    most = max(int(series.labels["frames"]) for series in record.series)
    served = record.find(engine="served-cpu", frames=most)
    ratios = record.figures.get("ratio_to_baseline", {})
    if served is not None and served.name in ratios:
        ratio, low, high = ratios[served.name]
        rows.append(
            (
                f"{most} frames through gRPC, `cpu` profile",
                f"{_p50_ms(served):.0f} ms, {served.figures['frames_per_s']:.0f} frames/s",
            )
        )
        rows.append(("… against PyTorch eager fp32", f"{ratio:.1f}x ({low:.1f} to {high:.1f})"))
    bare = record.figures.get(f"served-cpu of bare T={most}")
    if bare:
        rows.append(
            (
                "… share of the same engine without a server",
                f"{100 * bare[0]:.0f}% ({100 * bare[1]:.0f} to {100 * bare[2]:.0f})",
            )
        )
    if served is not None and "share_of_peak" in served.figures:
        precision = served.labels["precision"]
        rows.append(
            (f"… share of the processor's measured matrix peak in {precision}", f"{100 * served.figures['share_of_peak']:.0f}%")
        )
    one = record.find(engine="served-cpu", frames=1)
    if one is not None:
        rows.append(("one frame through gRPC, p50", f"{_p50_ms(one):.1f} ms{_limit(record, 'T=1 through gRPC, p50 in ms')}"))
    return rows


def _frames(record: Record) -> list[tuple[str, str]]:
    rows = []
    members = [series for series in record.series if series.labels.get("path") == "grpc"]
    text = ", ".join(f"{series.labels['frames']}: {_p50_ms(series):.0f}" for series in members)
    rows.append(("latency in ms by frames, gRPC, p50", text))
    rows += [(check.name, f"{check.value:.2f}") for check in record.checks if check.name.startswith("cost per frame")]
    return rows


def _pipeline(record: Record) -> list[tuple[str, str]]:
    ours = record.find(pipeline="unmask", frames=record.settings["frames"])
    rows = []
    if ours is not None:
        rows.append(
            (f"{record.settings['video']} to verdict, {record.settings['frames']} frames", f"{_p50_ms(ours) / 1e3:.2f} s")
        )
    for stage in ("as served", "single detection pass"):
        figure = record.figures.get(f"times faster than the reference, {stage}")
        if figure:
            name = f"times faster than the reference, {stage}"
            theirs = record.find(pipeline="reference", stage=stage)
            count = (
                f", measured {len(theirs.samples)} times"
                if theirs is not None and len(theirs.samples) > 1
                else ", measured once"
            )
            rows.append((f"… against the reference pipeline, {stage}{count}", f"{figure[0]:.0f}x{_limit(record, name)}"))
    return rows


def _load(record: Record) -> list[tuple[str, str]]:
    knee = record.figures.get("knee", {})
    rows = []
    if knee:
        rows.append(("throughput at the knee", f"{knee['requests_per_s']:.1f} clips/s, {knee['frames_per_s']:.0f} frames/s"))
    seconds = dict(record.settings.get("open_loops", ())).get(80, record.settings.get("open_duration_s"))
    duration = f"{seconds:g} s of " if seconds else ""
    texts = {
        "80% of the knee: errors": (f"errors under {duration}Poisson arrivals at 80% of it", "{:.0f}"),
        "80% of the knee: p99 in multiples of p50": ("… p99 latency in multiples of p50", "{:.1f}"),
        "150% of the knee: p99 of refusals, ms": ("at 150% the surplus is refused within (p99)", "{:.0f} ms"),
        "150% of the knee: p99 of accepted requests, in multiples of that at the knee": (
            "… p99 latency of what is accepted, in multiples of that at 100%",
            "{:.1f}",
        ),
    }
    for check in record.checks:
        if check.name in texts:
            text, form = texts[check.name]
            rows.append((text, form.format(check.value) + _limit(record, check.name)))
    return rows


def _soak(record: Record) -> list[tuple[str, str]]:
    latency = record.find(requests=record.settings["requests"])
    growth = record.figures.get("memory_growth_second_half_mb")
    if latency is None or growth is None:
        return []
    return [(f"memory growth, second half of {len(latency.samples)} requests of 1 to 256 frames", f"{growth:.0f} MB")]


_ROWS: dict[str, Callable[[Record], list[tuple[str, str]]]] = {
    "pipeline": _pipeline, "engines": _engines, "frames": _frames, "load": _load, "soak": _soak,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme_figures", description="The README's table of figures.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with the result files")
    parser.add_argument("--plots", action="store_true", help="also write the plots beside them")
    parser.add_argument("--readme", type=Path, help="file to put the table into, between its marks")
    options = parser.parse_args(arguments)
    try:
        records = read_results(options.results)
        if options.readme:
            options.readme.write_text(put_into(options.readme.read_text(), table(records)))
        else:
            print(table(records))
        if options.plots:
            from benchmarks.plots import draw

            for name, record in records.items():
                for path, _ in draw(record, options.results / "plots", name):
                    print(path, file=sys.stderr)
    except (BenchmarkError, OSError) as error:
        print(f"benchmarks.readme_figures: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
