"""``unmask bench``: each run writes one JSON file with its raw samples and prints a table."""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchmarks.record import Record

EXIT_INPUT, EXIT_USAGE, EXIT_SERVER = 1, 2, 3
PROFILES = ("reference", "cpu", "gpu")
DEFAULT_ENGINES = "torch-eager,torch-channels-last,torch-bf16,onnxruntime-fp32,openvino-fp32,openvino-bf16,openvino-int8"


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


def default_repository() -> Path:
    """``model_repository/`` of the checkout that this package lies in."""
    return Path(__file__).resolve().parent.parent / "model_repository"


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
@_repository_option
@_out_option
def engines(
    frames: tuple[int, ...], engines: str, profiles: str, threads: int, repeats: int, budget_s: float, repository: Path,
    out: Path | None,
) -> None:  # fmt: skip
    """Compare engines, and the served path on top of them."""
    from benchmarks import engine_run
    from benchmarks.engines import ENGINES
    from benchmarks.rounds import Effort

    names = _names(engines, ENGINES, "--engines")
    served = _names(profiles, PROFILES, "--served")
    options = engine_run.EngineOptions(
        engines=names, profiles=served, frames=frames, repository=repository, threads=threads,
        effort=Effort(min_repeats=repeats, budget_s=budget_s),
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


def _names(text: str, legal: object, option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = list(legal)  # type: ignore[call-overload]
    if wrong := [name for name in names if name not in known]:
        raise click.UsageError(f"{option}: {', '.join(wrong)}: there are {', '.join(known)}")
    return names


def _run(kind: str, settings: dict[str, object], out: Path | None, work: object) -> "Record":
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
            work(record, ticker(kind))  # type: ignore[operator]
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
