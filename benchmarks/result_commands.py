"""``unmask bench compare`` and ``render``: what is done with result files."""

import sys
from pathlib import Path

import click

from benchmarks.command_options import EXIT_INPUT, RESULT


@click.command()
@click.argument("before", type=RESULT)
@click.argument("after", type=RESULT)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0, max=10),
    default=0.1,
    show_default=True,
    help="Slower by more than this share is a regression.",
)
def compare(before: Path, after: Path, threshold: float) -> None:
    """Compare two result files; exits with 1 where AFTER is slower than BEFORE by more than the threshold.

    Slower: the ratio of the medians is over the threshold, and its 95% interval is above 1. Series of fewer than five samples, and open
    loops of different rates, are shown or named, and never a regression.
    """
    from benchmarks import compare as comparison
    from benchmarks.errors import RecordError
    from benchmarks.record import load as read
    from benchmarks.tables import show_differences

    try:
        first, second = read(before), read(after)
        differences = comparison.compare(first, second)
    except RecordError as error:
        raise click.UsageError(str(error)) from error
    show_differences(differences, threshold)
    for remark in comparison.remarks(first, second):
        click.echo(remark, err=True)
    for path, record in ((before, first), (after, second)):
        if record.state != "complete":
            click.echo(f"{path} is {record.state}: {record.reason}", err=True)
    if any(item.regressed(threshold) for item in differences):
        sys.exit(EXIT_INPUT)


@click.command()
@click.argument("results", nargs=-1, required=True, type=RESULT)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/bench"),
    show_default=True,
    help="Folder for the page and the pictures.",
)
def render(results: tuple[Path, ...], folder: Path) -> None:
    """Make plots (PNG) and one HTML page of result files. JSON that another program wrote is named and passed over."""
    from benchmarks.errors import BenchmarkError, ForeignRecord
    from benchmarks.page import write_page
    from benchmarks.record import load as read
    from benchmarks.record import require_writable

    records = []
    try:
        for path in results:
            try:
                records.append(read(path))
            except ForeignRecord as error:
                click.echo(f"passed over: {error}", err=True)
        if not records:
            raise click.UsageError("none of the files is a result of unmask bench")
        require_writable(folder / "index.html")
        page = write_page(records, folder)
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from error
    click.echo(page)
