"""What the commands of ``unmask bench`` share: option types, the server to measure, and what happens around a run."""

import sys
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from common.places import default_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.record import Kind, Record
    from benchmarks.servers import Target

EXIT_INPUT, EXIT_SERVER, EXIT_INTERRUPTED = 1, 3, 130
PROFILES = ("reference", "cpu", "gpu")
SERVER_SETTINGS = ("streams", "threads", "instances")
"""Options of a server that is started for the run."""
RESULT = click.Path(exists=True, dir_okay=False, path_type=Path)


class NumberList(click.ParamType[tuple[int, ...]]):
    """``1,20,100``: distinct whole numbers within limits, in increasing order."""

    name = "LIST"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers = []
        for part in str(value).split(","):
            if not part.strip().isdecimal() or not self.low <= int(part) <= self.high:
                self.fail(f"{part.strip()!r} is not a whole number from {self.low} to {self.high}", param, ctx)
            numbers.append(int(part))
        return tuple(sorted(set(numbers)))


class ArrivalList(click.ParamType[tuple[tuple[int, float | None], ...]]):
    """``80:600,150``: distinct percentages, each with the seconds that it is applied for or without, in increasing order."""

    name = "LIST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, float | None], ...]:
        if isinstance(value, tuple):
            return value
        levels: dict[int, float | None] = {}
        for part in str(value).split(","):
            percent, colon, seconds = part.strip().partition(":")
            if not percent.isdecimal() or not 1 <= int(percent) <= 1000:
                self.fail(f"{percent!r} is not a whole number from 1 to 1000", param, ctx)
            if colon and (not seconds.isdecimal() or int(seconds) < 1):
                self.fail(f"{part.strip()!r}: {seconds!r} is not a whole number of seconds from 1", param, ctx)
            levels[int(percent)] = float(seconds) if colon else None
        return tuple(sorted(levels.items()))


def out_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path),
        help="Result file to write [default: out/bench/<command>-<time>.json].",
    )(function)  # fmt: skip


def repository_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--repository", type=click.Path(path_type=Path, file_okay=False, exists=True), default=default_repository,
        help="Model repository [default: the checkout's model_repository].",
    )(function)  # fmt: skip


def server_options(function: click.decorators.FC) -> click.decorators.FC:
    """``url``, ``http_url``, ``profile``, and how the started server is to be (``SERVER_SETTINGS``), for ``target_of``."""
    for option in (
        click.option("--instances", type=click.IntRange(1, 64), help="Instances of encoder and head [default: as configured]."),
        click.option("--threads", type=click.IntRange(1, 4096), help="Of the started server's encoder [default: all cores]."),
        click.option(
            "--streams", type=click.IntRange(1, 1024), help="Of the started server's encoder [default: as configured]."
        ),
        click.option("--profile", type=click.Choice(PROFILES), default="cpu", show_default=True, help="Of the started server."),
        click.option("--http-url", help="HTTP address of the running server, for --paths http and its statistics."),
        click.option("--url", help="gRPC address HOST:PORT of a running server; without it one is started."),
    ):
        function = option(function)
    return function


@contextmanager
def target_of(
    url: str | None, http_url: str | None, profile: str, repository: Path, server: "Mapping[str, int | None]"
) -> "Iterator[Target]":
    """The server that the options name, or one that is started for the block.

    Raises:
        NoServer: Nobody listens at the address.
        click.UsageError: ``server`` asks something of a server that runs already.
    """
    from benchmarks.errors import NoServer
    from benchmarks.instances import with_instances
    from benchmarks.servers import Target, listens, serve

    wanted = given(server)
    if url or http_url:
        if wanted:
            raise click.UsageError(
                f"--{next(iter(wanted))} is for a server that is started here; leave --url and --http-url out"
            )
        if http_url and "://" not in http_url:
            http_url = f"http://{http_url}"
        target = Target(
            url.removeprefix("grpc://") if url else None, http_url.rstrip("/") if http_url else None, "running server"
        )
        for address in (target.grpc_url, target.http_url):
            if address and not listens(address):
                raise NoServer(f"nobody listens at {address}; start a server with `unmask serve`, or give its HOST:PORT")
        yield target
        return
    instances = wanted.pop("instances", None)
    with with_instances(repository, instances) as folder, serve(folder, profile, **wanted) as target:
        yield target


def given(server: "Mapping[str, int | None]") -> dict[str, int]:
    """Those of ``SERVER_SETTINGS`` that were given; they belong into a run's settings."""
    return {name: value for name, value in server.items() if value is not None}


def require_addresses(paths: Iterable[str], url: str | None, http_url: str | None) -> None:
    """Raises ``click.UsageError`` where a running server is named, and not at the address that a path needs."""
    if not url and not http_url:
        return
    for path in paths:
        if path == "http" and not http_url:
            raise click.UsageError(
                "the path http needs the server's HTTP address; give --http-url, or leave http out of --paths"
            )
        if path != "http" and not url:
            raise click.UsageError(f"the path {path} needs the server's gRPC address; give --url HOST:PORT")


def names_of(text: str, legal: Iterable[str], option: str) -> tuple[str, ...]:
    """Comma-separated names, each once; raises ``click.UsageError`` where one is not among ``legal``."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = list(legal)
    if wrong := [name for name in names if name not in known]:
        raise click.UsageError(f"{option}: {', '.join(wrong)}: there are {', '.join(known)}")
    return names


def run_one(
    kind: "Kind", settings: dict[str, object], out: Path | None, work: "Callable[[Record, Callable[[], None] | None], None]",
    *, also_writes: Iterable[Path] = (),
) -> None:  # fmt: skip
    """Runs one benchmark, writes and shows its result, and exits with the project's codes where it did not go well.

    Before anything is measured, the result's file and ``also_writes`` are tried.
    """
    from benchmarks.errors import BenchmarkError, NoServer, OutputError, UsageError
    from benchmarks.record import Record, require_writable
    from benchmarks.running import keeping, ticker
    from benchmarks.tables import show
    from client.errors import ClientError
    from preprocess.errors import PreprocessError
    from serving.errors import ServingError

    record = Record(kind=kind, settings=settings)
    path = out or Path("out/bench") / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    try:
        for file in (path, *also_writes):
            require_writable(file)
    except OutputError as error:
        raise click.UsageError(str(error)) from error
    try:
        with keeping(record, path):
            work(record, ticker(kind))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except OutputError as error:
        # The disk filled up, or the folder went away, while it measured: the terminal is what is left.
        show(record)
        click.echo(f"unmask bench {kind}: {error}", err=True)
        sys.exit(EXIT_INPUT)
    except (NoServer, ServingError) as error:
        click.echo(f"unmask bench {kind}: {error}", err=True)
        sys.exit(EXIT_SERVER)
    except (BenchmarkError, ClientError, PreprocessError) as error:
        click.echo(f"unmask bench {kind}: {error}", err=True)
        sys.exit(EXIT_INPUT)
    show(record)
    click.echo(f"result: {path}", err=True)
    if record.state == "partial":
        click.echo(f"unmask bench {kind}: partial: {record.reason}", err=True)
        sys.exit(EXIT_SERVER)
    if record.state == "interrupted":
        sys.exit(EXIT_INTERRUPTED)
