"""``unmask bench``: each run writes one JSON file with its raw samples and prints a table."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from benchmarks.command_options import (
    PROFILES,
    ArrivalList,
    NumberList,
    given,
    names_of,
    out_option,
    repository_option,
    require_addresses,
    run_one,
    server_options,
    target_of,
)
from benchmarks.result_commands import compare, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.paths import PathName
    from benchmarks.record import Record


@click.group()
def bench() -> None:
    """Measure: latency against frame count, load, engines, and side by side with the reference pipeline.

    Each run writes one JSON file with machine, versions, settings and raw samples. Ctrl+C keeps what was measured.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@bench.command()
@click.option("--frames", type=NumberList(1, 256), default="1,100", show_default=True, help="Clip lengths, at most 256.")
@click.option("--engines", help="Engines without a server, comma-separated [default: all, those of CUDA where there is a GPU].")
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
@click.option(
    "--checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What PyTorch loads, where the repository was made of a checkpoint of your own.",
)  # fmt: skip
@repository_option
@out_option
def engines(
    frames: tuple[int, ...], engines: str | None, profiles: str, threads: int, repeats: int, budget_s: float, peak: bool,
    checkpoint: Path | None, repository: Path, out: Path | None,
) -> None:  # fmt: skip
    """Compare engines, and the served path on top of them."""
    from benchmarks import engine_run
    from benchmarks.engines import ENGINES, engines_of
    from benchmarks.machine import machine_facts
    from benchmarks.rounds import Effort

    names = engines_of(machine_facts()) if engines is None else names_of(engines, ENGINES, "--engines")
    served = names_of(profiles, PROFILES, "--served")
    options = engine_run.EngineOptions(
        engines=names, profiles=served, frames=frames, repository=repository, threads=threads,
        effort=Effort(min_repeats=repeats, budget_s=budget_s), peak=peak, checkpoint=checkpoint,
    )  # fmt: skip
    settings: dict[str, object] = {
        "frames": frames,
        "engines": names,
        "served": served,
        "threads": threads,
        "repeats": repeats,
        "budget_s": budget_s,
        "peak": peak,
    }
    run_one("engines", settings, out, lambda record, tick: engine_run.run(options, record, tick=tick))


@bench.command()
@click.option("--requests", type=click.IntRange(4, 1_000_000), default=1000, show_default=True, help="Requests to send.")
@click.option("--frames", type=NumberList(1, 256), help="Clip lengths to draw from [default: 1 to 256].")
@click.option("--profile", type=click.Choice(PROFILES), default="cpu", show_default=True, help="Profile of the server.")
@repository_option
@out_option
def soak(requests: int, frames: tuple[int, ...] | None, profile: str, repository: Path, out: Path | None) -> None:
    """Send many clips of mixed length and watch the server's memory."""
    from benchmarks import soak_run

    frames = frames or tuple(range(1, 257))
    settings: dict[str, object] = {"requests": requests, "frames": frames, "profile": profile}
    run_one(
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
@server_options
@repository_option
@out_option
def frames(
    frames: tuple[int, ...], paths: str, repeats: int, budget_s: float, url: str | None, http_url: str | None, profile: str,
    repository: Path, out: Path | None, **server: int | None,
) -> None:  # fmt: skip
    """Measure latency against the number of frames, and where the time goes."""
    from benchmarks import frames_run
    from benchmarks.rounds import Effort

    names = names_of(paths, ("grpc", "http", "shm"), "--paths")
    if not names:
        raise click.UsageError("--paths is empty; name at least one of grpc, http, shm")
    require_addresses(names, url, http_url)
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
        **given(server),
    }

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with target_of(url, http_url, profile, repository, server) as target:
            frames_run.run(options, target, record, tick=tick)

    run_one("frames", settings, out, work)


@bench.command()
@click.option(
    "--clients", type=NumberList(1, 256), default="1,2,4,8,16", show_default=True, help="Closed loops, one after the other."
)
@click.option(
    "--open",
    "arrivals",
    type=ArrivalList(),
    help="Then Poisson arrivals, as percentages of the knee; 80:600 for 80 % during 600 seconds.",
)
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
    help="Seconds of an open loop that names none.",
)
@click.option("--path", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True, help="Way to the server.")
@click.option("--perf-analyzer", is_flag=True, help="Measure the closed loops with NVIDIA's perf_analyzer, too.")
@click.option(
    "--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write perf_analyzer's columns here."
)
@server_options
@repository_option
@out_option
def load(
    clients: tuple[int, ...], arrivals: tuple[tuple[int, float | None], ...] | None, frames: tuple[int, ...], duration_s: float,
    open_duration_s: float, path: Literal["grpc", "http"], csv_path: Path | None, perf_analyzer: bool,
    url: str | None, http_url: str | None, profile: str, repository: Path, out: Path | None, **server: int | None,
) -> None:  # fmt: skip
    """Apply load: more and more clients, then arrivals that wait for nobody."""
    from benchmarks import load_run

    require_addresses((path,), url, http_url)
    if perf_analyzer:
        from benchmarks.perf_analyzer import why_not

        if path != "grpc":
            raise click.UsageError("--perf-analyzer measures gRPC; leave --path at grpc")
        if reason := why_not():
            raise click.UsageError(f"--perf-analyzer: {reason}")

    open_loops = tuple((percent, seconds or open_duration_s) for percent, seconds in arrivals or ())
    options = load_run.LoadOptions(
        clients=clients, open_loops=open_loops, frames=frames, duration_s=duration_s, path=path, csv=csv_path,
        perf_analyzer=perf_analyzer,
    )  # fmt: skip
    settings: dict[str, object] = {
        "clients": clients, "open_loops": open_loops, "frames": frames, "duration_s": duration_s, "path": path,
        "profile": profile, "perf_analyzer": perf_analyzer,
        **given(server),
    }  # fmt: skip

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with target_of(url, http_url, profile, repository, server) as target:
            load_run.run(options, target, record, tick=tick)

    run_one("load", settings, out, work, also_writes=[csv_path] if csv_path else [])


@bench.command()
@click.argument("video", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frames", type=click.IntRange(1, 256), default=100, show_default=True, help="Frames to sample.")
@click.option("--against", type=click.Choice(["reference"]), help="Also measure the reference pipeline on the same file.")
@click.option("--repeats", type=click.IntRange(2, 10_000), default=20, show_default=True, help="Our requests.")
@click.option(
    "--reference-repeats", type=click.IntRange(1, 100), default=1, show_default=True, help="The reference's requests."
)
@server_options
@repository_option
@out_option
def pipeline(
    video: Path, frames: int, against: str | None, repeats: int, reference_repeats: int, url: str | None, http_url: str | None,
    profile: str, repository: Path, out: Path | None, **server: int | None,
) -> None:  # fmt: skip
    """Measure from file to verdict, stage by stage."""
    from benchmarks import pipeline_run

    options = pipeline_run.PipelineOptions(
        video=video, frames=frames, repeats=repeats, against_reference=against is not None, reference_repeats=reference_repeats
    )
    settings: dict[str, object] = {
        "video": video.name, "frames": frames, "against": against, "repeats": repeats,
        "reference_repeats": reference_repeats, "profile": profile, **given(server),
    }  # fmt: skip

    def work(record: "Record", tick: "Callable[[], None] | None") -> None:
        with target_of(url, http_url, profile, repository, server) as target:
            pipeline_run.run(options, target, record, tick=tick)

    run_one("pipeline", settings, out, work)


bench.add_command(compare)
bench.add_command(render)
