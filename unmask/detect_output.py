"""How ``unmask detect`` shows its results on a terminal and in a pipe."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import click

from client import wording
from client.results import Result, to_document

_STYLES = {
    "FAKE": "bold red",
    "REAL": "bold cyan",
    "UNCERTAIN": "bold yellow",
    "NOT_EVALUATED": "bold",
    "ERROR": "bold magenta",
}
Item = TypeVar("Item")


def with_progress(items: Sequence[Item]) -> Iterator[Item]:
    """The items, with a bar on stderr while they are worked on if that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, description="evaluating")


def to_json(results: Sequence[Result]) -> str:
    """One document (``client/results.schema.json``)."""
    return json.dumps(to_document(results), indent=2)


def print_json(results: Sequence[Result]) -> None:
    """``to_json`` on stdout."""
    click.echo(to_json(results))


def print_table(results: Sequence[Result]) -> None:
    """A table on a terminal; else a line a file: verdict, score (or -), path, why, tab-separated."""
    if not sys.stdout.isatty():
        for result in results:
            click.echo("\t".join((result.label, _score(result), wording.printable(result.path), _why(result))))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("File", overflow="fold", ratio=2)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Score", justify="right", no_wrap=True)
    table.add_column("Why", overflow="fold", ratio=3)
    for result in results:
        # Text, not markup: a file may be called [red].mp4.
        table.add_row(
            Text(wording.printable(result.path)),
            Text(result.label.replace("_", " "), style=_STYLES[result.label]),
            _score(result),
            Text(_why(result)),
        )
    console = Console()
    console.print(table)
    for words in dict.fromkeys(wording.limits(result.verdict) for result in results if result.verdict):
        console.print(Text(words, style="dim"))


def _score(result: Result) -> str:
    return wording.number(result.verdict.score) if result.verdict and result.verdict.score is not None else "-"


def _why(result: Result) -> str:
    if result.verdict:
        return wording.explanation(result.verdict)
    assert result.failure is not None
    return wording.printable(f"{result.failure.code}: {result.failure.message}")
