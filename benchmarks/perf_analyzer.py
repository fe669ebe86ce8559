"""NVIDIA's perf_analyzer on the same server, to check the load figures of this project against another's.

    python -m benchmarks.perf_analyzer fetch
    python -m benchmarks.perf_analyzer run --url 127.0.0.1:8001 --frames 100 --clients 2

The program is inside an old tritonclient wheel (2.48.0; later ones dropped it) and needs libb64 from Debian and a CUDA runtime library,
GPU or not. ``fetch`` puts all three into a cache folder, outside the project's environment.
"""

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.clips import noise_clip
from benchmarks.errors import BenchmarkError, ToolMissing
from benchmarks.paths import DETECTOR

WHEELS = ("tritonclient==2.48.0", "nvidia-cuda-runtime-cu12")
_PLATFORMS = ("manylinux1_x86_64", "manylinux2014_x86_64")
_PARTS = ("data/bin/perf_analyzer", "cuda_runtime/lib/libcudart.so.12")


def cache_folder() -> Path:
    """``UNMASK_BENCH_CACHE``, or ``unmask/perf_analyzer`` in the user's cache."""
    base = os.environ.get("UNMASK_BENCH_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "unmask" / "perf_analyzer"


def why_not(folder: Path | None = None) -> str | None:
    """None where perf_analyzer runs, else the reason and the remedy."""
    folder = folder or cache_folder()
    if not (folder / "perf_analyzer").exists():
        return f"perf_analyzer is not in {folder}; fetch it with `python -m benchmarks.perf_analyzer fetch`"
    done = subprocess.run([folder / "perf_analyzer", "--version"], env=_environment(folder), capture_output=True, text=True)
    if done.returncode and "error while loading" in done.stderr:
        return f"perf_analyzer does not start: {done.stderr.strip()}"
    return None


def fetch(folder: Path | None = None) -> Path:
    """Downloads the program and the two libraries; returns the folder.

    Raises:
        ToolMissing: This is no x86-64 Debian or Ubuntu, or a download failed.
    """
    folder = folder or cache_folder()
    if platform.machine() != "x86_64" or not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise ToolMissing(
            "perf_analyzer can be fetched on x86-64 Debian and Ubuntu only; elsewhere take it from NVIDIA's SDK container"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        platforms = [argument for name in _PLATFORMS for argument in ("--platform", name)]
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", *platforms]
        _call([*download, "--dest", str(work), *WHEELS], work)
        _call(["apt-get", "download", "libb64-0d"], work)
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(_PARTS):
                        (folder / Path(name).name).write_bytes(archive.read(name))
        for package in work.glob("*.deb"):
            _call(["dpkg", "-x", str(package), str(work / "deb")], work)
        for library in (work / "deb").glob("usr/lib/*/libb64.so.*"):
            shutil.copy(library, folder / library.name)
    (folder / "perf_analyzer").chmod(0o755)
    if reason := why_not(folder):
        raise ToolMissing(reason)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What perf_analyzer says of one concurrency."""

    clients: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


def measure(
    grpc_url: str, *, frames: Sequence[int], clients: int, seconds: float = 5.0, folder: Path | None = None
) -> Measured:
    """Closed loop of ``clients`` over gRPC; with several clip lengths they take turns.

    Raises:
        ToolMissing: perf_analyzer cannot run here.
        BenchmarkError: It ran and failed.
    """
    folder = folder or cache_folder()
    if reason := why_not(folder):
        raise ToolMissing(reason)
    with tempfile.TemporaryDirectory() as temporary:
        # No --shape: each request brings its own.
        data, table = Path(temporary) / "data.json", Path(temporary) / "table.csv"
        data.write_text(json.dumps({"data": [_sample(count) for count in frames]}))
        command = [
            str(folder / "perf_analyzer"), "-m", DETECTOR, "-u", grpc_url, "-i", "grpc", "--input-data", str(data),
            "--concurrency-range", str(clients), "-f", str(table),
            "--measurement-interval", str(round(1000 * seconds)), "--stability-percentage", "25", "--max-trials", "8",
        ]  # fmt: skip
        done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True)
        if not table.exists():
            raise BenchmarkError(
                f"perf_analyzer ended with code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}"
            )
        row = next(csv.DictReader(table.read_text().splitlines()))
    return Measured(
        clients=clients,
        requests_per_s=float(row["Inferences/Second"]),
        p50_ms=float(row["p50 latency"]) / 1000,
        p99_ms=float(row["p99 latency"]) / 1000,
    )


def _sample(frames: int) -> dict[str, object]:
    clip = noise_clip(frames)
    return {"FRAMES": {"content": clip.reshape(-1).tolist(), "shape": list(clip.shape)}}


def _environment(folder: Path) -> dict[str, str]:
    libraries = os.pathsep.join(path for path in (str(folder), os.environ.get("LD_LIBRARY_PATH", "")) if path)
    return {**os.environ, "LD_LIBRARY_PATH": libraries}


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise ToolMissing(f"`{' '.join(command[:4])} ...` failed: {done.stderr.strip()[-300:]}")


@click.group()
def main() -> None:
    """NVIDIA's perf_analyzer beside this project's load generator."""


@main.command("fetch")
def fetch_command() -> None:
    """Download it into the cache folder."""
    try:
        click.echo(fetch())
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error


@main.command("run")
@click.option("--url", default="127.0.0.1:8001", show_default=True)
@click.option("--frames", type=click.IntRange(1, 256), default=[100], multiple=True, show_default=True)
@click.option("--clients", type=click.IntRange(1, 256), default=1, show_default=True)
def run_command(url: str, frames: tuple[int, ...], clients: int) -> None:
    """Measure a running server."""
    try:
        measured = measure(url, frames=frames, clients=clients)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{measured.clients} clients: {measured.requests_per_s:.2f} requests/s, p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms"
    )


if __name__ == "__main__":
    main()
