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
    """Compare two result files; exits with 1 where AFTER is slower than BEFORE by more than the threshold."""
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
    for name in comparison.missing(first, second):
        click.echo(f"only in one of the files: {name}", err=True)
    if first.machine != second.machine:
        click.echo("the two runs are from different machines", err=True)
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
    """Make plots (PNG) and one HTML page of result files."""
    from benchmarks.errors import BenchmarkError
    from benchmarks.page import write_page
    from benchmarks.record import load as read

    try:
        page = write_page([read(path) for path in results], folder)
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from error
    click.echo(page)
