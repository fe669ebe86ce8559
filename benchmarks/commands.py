"""``unmask bench``: each run writes one JSON file with its raw samples and prints a table."""

import logging
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from common.places import default_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.paths import PathName
    from benchmarks.record import Record
    from benchmarks.servers import Target

EXIT_INPUT, EXIT_USAGE, EXIT_SERVER = 1, 2, 3
PROFILES = ("reference", "cpu", "gpu")
DEFAULT_ENGINES = "torch-eager,torch-channels-last,torch-bf16,onnxruntime-fp32,openvino-fp32,openvino-bf16,openvino-int8"


_RESULT = click.Path(exists=True, dir_okay=False, path_type=Path)


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


def _out_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path),
        help="Result file to write [default: out/bench/<command>-<time>.json].",
    )(function)  # fmt: skip


def _repository_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--repository", type=click.Path(path_type=Path, file_okay=False, exists=True), default=default_repository,
        help="Model repository [default: the checkout's model_repository].",
    )(function)  # fmt: skip


def _server_options(function: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--profile", type=click.Choice(PROFILES), default="cpu", show_default=True, help="Of the started server."),
        click.option("--http-url", help="HTTP address of the running server, for --paths http and its statistics."),
        click.option("--url", help="gRPC address HOST:PORT of a running server; without it one is started."),
    ):
        function = option(function)
    return function


@click.group()
def bench() -> None:
    """Measure: latency against frame count, load, engines, and side by side with the reference pipeline.

    Each run writes one JSON file with machine, versions, settings and raw samples. Ctrl+C keeps what was measured.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@bench.command()
@click.option("--frames", type=NumberList(1, 256), default="1,100", show_default=True, help="Clip lengths, at most 256.")
@click.option("--engines", default=DEFAULT_ENGINES, show_default=True, help="Engines without a server, comma-separated.")
@click.option(
    "--served", "profiles", default="cpu", show_default=True, help="Profiles of the server to measure on top; empty: none."
)
@click.option("--threads", type=click.IntRange(0, 4096), default=0, help="Processor threads of each engine; 0: all cores.")
@click.option("--repeats", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Least rounds.")
@click.option(
    "--budget", "budget_s", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Seconds per clip length."
)
@click.option(
    "--peak/--no-peak", default=True, show_default=True, help="Measure matrix products, too: what the processor can do."
)
@_repository_option
@_out_option
def engines(
    frames: tuple[int, ...], engines: str, profiles: str, threads: int, repeats: int, budget_s: float, peak: bool,
    repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Compare engines, and the served path on top of them."""
    from benchmarks import engine_run
    from benchmarks.engines import ENGINES
    from benchmarks.rounds import Effort

    names = _names(engines, ENGINES, "--engines")
    served = _names(profiles, PROFILES, "--served")
    options = engine_run.EngineOptions(
        engines=names, profiles=served, frames=frames, repository=repository, threads=threads,
        effort=Effort(min_repeats=repeats, budget_s=budget_s), peak=peak,
    )  # fmt: skip
    settings = {
        "frames": frames,
        "engines": names,
        "served": served,
        "threads": threads,
        "repeats": repeats,
        "budget_s": budget_s,
    }
    _run("engines", settings, out, lambda record, tick: engine_run.run(options, record, tick=tick))


@bench.command()
@click.option("--requests", type=click.IntRange(4, 1_000_000), default=1000, show_default=True, help="Requests to send.")
@click.option(
    "--frames",
    type=NumberList(1, 256),
    default=",".join(map(str, range(1, 257))),
    help="Clip lengths to draw from [default: 1 to 256].",
)
@click.option("--profile", type=click.Choice(PROFILES), default="cpu", show_default=True, help="Profile of the server.")
@_repository_option
@_out_option
def soak(requests: int, frames: tuple[int, ...] | None, profile: str, repository: Path, out: Path | None) -> None:
    """Send many clips of mixed length and watch the server's memory."""
    from benchmarks import soak_run

    frames = frames or tuple(range(1, 257))
    settings: dict[str, object] = {"requests": requests, "frames": frames, "profile": profile}
    _run(
        "soak", settings, out,
        lambda record, tick: soak_run.run(record, repository=repository, profile=profile, requests=requests, frames=frames, tick=tick),
    )  # fmt: skip


@bench.command()
@click.option(
    "--frames", type=NumberList(1, 256), default="10,20,40,60,80,100", show_default=True, help="Clip lengths, at most 256."
)
@click.option("--paths", default="grpc,http,shm", show_default=True, help="Ways to the server; shm is system shared memory.")
@click.option("--repeats", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Least rounds.")
@click.option(
    "--budget", "budget_s", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Seconds per clip length."
)
@_server_options
@_repository_option
@_out_option
def frames(
    frames: tuple[int, ...], paths: str, repeats: int, budget_s: float, url: str | None, http_url: str | None, profile: str,
    repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Measure latency against the number of frames, and where the time goes."""
    from benchmarks import frames_run
    from benchmarks.rounds import Effort

    names = _names(paths, ("grpc", "http", "shm"), "--paths")
    if not names:
        raise click.UsageError("--paths is empty; name at least one of grpc, http, shm")
    options = frames_run.FramesOptions(
        frames=frames,
        paths=cast("tuple[PathName, ...]", names),
        effort=Effort(min_repeats=repeats, budget_s=budget_s),
    )
    settings: dict[str, object] = {
        "frames": frames,
        "paths": names,
        "repeats": repeats,
        "budget_s": budget_s,
        "profile": profile,
    }

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with _target(url, http_url, profile, repository) as target:
            frames_run.run(options, target, record, tick=tick)

    _run("frames", settings, out, work)


@bench.command()
@click.option(
    "--clients", type=NumberList(1, 256), default="1,2,4,8,16", show_default=True, help="Closed loops, one after the other."
)
@click.option("--open", "open_percent", type=NumberList(1, 1000), help="Then Poisson arrivals, as percentages of the knee.")
@click.option("--frames", type=NumberList(1, 256), default="20,40,60", show_default=True, help="Clip lengths, drawn evenly.")
@click.option(
    "--duration", "duration_s", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds of a closed loop."
)
@click.option(
    "--open-duration",
    "open_duration_s",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    help="Seconds of an open loop.",
)
@click.option("--path", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True, help="Way to the server.")
@click.option("--perf-analyzer", is_flag=True, help="Measure the closed loops with NVIDIA's perf_analyzer, too.")
@click.option(
    "--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write perf_analyzer's columns here."
)
@_server_options
@_repository_option
@_out_option
def load(
    clients: tuple[int, ...], open_percent: tuple[int, ...] | None, frames: tuple[int, ...], duration_s: float,
    open_duration_s: float, path: Literal["grpc", "http"], csv_path: Path | None, perf_analyzer: bool,
    url: str | None, http_url: str | None, profile: str, repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Apply load: more and more clients, then arrivals that wait for nobody."""
    from benchmarks import load_run

    if perf_analyzer:
        from benchmarks.perf_analyzer import why_not

        if path != "grpc":
            raise click.UsageError("--perf-analyzer measures gRPC; leave --path at grpc")
        if reason := why_not():
            raise click.UsageError(f"--perf-analyzer: {reason}")

    options = load_run.LoadOptions(
        clients=clients, open_percent=open_percent or (), frames=frames, duration_s=duration_s, open_duration_s=open_duration_s,
        path=path, csv=csv_path, perf_analyzer=perf_analyzer,
    )  # fmt: skip
    settings: dict[str, object] = {
        "clients": clients, "open_percent": open_percent or (), "frames": frames, "duration_s": duration_s,
        "open_duration_s": open_duration_s, "path": path, "profile": profile, "perf_analyzer": perf_analyzer,
    }  # fmt: skip

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with _target(url, http_url, profile, repository) as target:
            load_run.run(options, target, record, tick=tick)

    _run("load", settings, out, work)


@bench.command()
@click.argument("video", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frames", type=click.IntRange(1, 256), default=100, show_default=True, help="Frames to sample.")
@click.option("--against", type=click.Choice(["reference"]), help="Also measure the reference pipeline on the same file.")
@click.option("--repeats", type=click.IntRange(2, 10_000), default=20, show_default=True, help="Our requests.")
@click.option(
    "--reference-repeats", type=click.IntRange(1, 100), default=1, show_default=True, help="The reference's requests."
)
@_server_options
@_repository_option
@_out_option
def pipeline(
    video: Path, frames: int, against: str | None, repeats: int, reference_repeats: int, url: str | None, http_url: str | None,
    profile: str, repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Measure from file to verdict, stage by stage."""
    from benchmarks import pipeline_run

    options = pipeline_run.PipelineOptions(
        video=video, frames=frames, repeats=repeats, against_reference=against is not None, reference_repeats=reference_repeats
    )
    settings: dict[str, object] = {
        "video": video.name, "frames": frames, "against": against, "repeats": repeats,
        "reference_repeats": reference_repeats, "profile": profile,
    }  # fmt: skip

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with _target(url, http_url, profile, repository) as target:
            pipeline_run.run(options, target, record, tick=tick)

    _run("pipeline", settings, out, work)


@bench.command()
@click.argument("before", type=_RESULT)
@click.argument("after", type=_RESULT)
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


@bench.command()
@click.argument("results", nargs=-1, required=True, type=_RESULT)
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


@contextmanager
def _target(url: str | None, http_url: str | None, profile: str, repository: Path) -> "Iterator[Target]":
    from benchmarks.servers import Target, serve

    if url or http_url:
        yield Target(url.removeprefix("grpc://") if url else None, http_url, "running server")
        return
    with serve(repository, profile) as target:
        yield target


def _names(text: str, legal: object, option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = list(legal)  # type: ignore[call-overload]
    if wrong := [name for name in names if name not in known]:
        raise click.UsageError(f"{option}: {', '.join(wrong)}: there are {', '.join(known)}")
    return names


def _run(
    kind: str, settings: dict[str, object], out: Path | None, work: "Callable[[Record, Callable[[], None] | None], None]"
) -> "Record":
    """Runs one benchmark, writes and shows its result, and exits with the project's codes where it did not go well."""
    from benchmarks.errors import BenchmarkError, UsageError
    from benchmarks.record import Record
    from benchmarks.running import keeping, ticker
    from benchmarks.tables import show
    from serving.errors import ServingError

    record = Record(kind=kind, settings=settings)  # type: ignore[arg-type]
    path = out or Path("out/bench") / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    try:
        with keeping(record, path):
            work(record, ticker(kind))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except ServingError as error:
        click.echo(f"unmask bench {kind}: {error}", err=True)
        sys.exit(EXIT_SERVER)
    except BenchmarkError as error:
        click.echo(f"unmask bench {kind}: {error}", err=True)
        sys.exit(EXIT_INPUT)
    show(record)
    click.echo(f"result: {path}", err=True)
    if record.state == "partial":
        click.echo(f"unmask bench {kind}: partial: {record.reason}", err=True)
        sys.exit(EXIT_SERVER)
    if record.state == "interrupted":
        sys.exit(130)
    return record
