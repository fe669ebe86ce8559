"""``python -m benchmarks.console --media DIR``: the API against a warm ``client.Detector`` on the same clips and the same server.

In turns, the order turned round each time. Both are warm, each has its own face detector; the API's figure is from the first byte of the
upload to the last of the verdict (``POST /v1/analyses?wait=60``). Then the console's processor time while nothing happens.
"""

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.preprocessing.timing import machine, summary

RESULTS = Path(__file__).parent.parent / "results" / "console.json"
CLIPS = ("cases/talking_720p_20s.mp4", "cases/help_h264.mov")
IDLE_S = 20.0
logger = logging.getLogger(__name__)


def overhead(clip: Path, triton_url: str, console_url: str, frames: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, and the ratio round by round."""
    import httpx

    from client import Detector

    stages: dict[str, list[dict[str, float]]] = {"library": [], "api": []}
    with Detector(triton_url) as detector, httpx.Client(base_url=console_url, timeout=120, trust_env=False) as client:

        def by_api() -> None:
            with clip.open("rb") as file:
                answer = client.post("/v1/analyses", params={"wait": 60, "frames": frames}, files={"file": (clip.name, file)})
            answer.raise_for_status()
            stages["api"].append(answer.json()["verdict"]["stage_s"])

        def by_library() -> None:
            stages["library"].append(detector.detect(clip, frames=frames).stage_s)

        sides: list[tuple[str, Callable[[], None]]] = [("library", by_library), ("api", by_api)]
        seconds: dict[str, list[float]] = {name: [] for name, _ in sides}
        for turn in range(rounds + 2):
            for name, run in sides if turn % 2 else reversed(sides):
                started = time.perf_counter()
                run()
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - started)
    pairs = [api / library for api, library in zip(seconds["api"], seconds["library"], strict=True)]
    inside = [part["total"] for part in stages["api"][2:]]
    return {
        **{name: summary(values) for name, values in seconds.items()},
        "api_over_library": {
            "of_medians": statistics.median(seconds["api"]) / statistics.median(seconds["library"]),
            "of_best": min(seconds["api"]) / min(seconds["library"]),
            "median_of_rounds": statistics.median(pairs),
            "raw": [round(value, 4) for value in pairs],
        },
        "median_stage_s": {
            side: {name: round(statistics.median(part.get(name, 0.0) for part in parts[2:]), 4) for name in parts[-1]}
            for side, parts in stages.items()
        },
        "api_outside_the_analysis_s": statistics.median(a - b for a, b in zip(seconds["api"], inside, strict=True)),
    }


def idle(pids: dict[str, int]) -> dict[str, float]:
    """Share of one processor that each process (its children included) uses while nothing happens."""
    import psutil

    def used() -> dict[str, float]:
        found = {}
        for name, pid in pids.items():
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            found[name] = sum(sum(process.cpu_times()[:2]) for process in family)
        return found

    time.sleep(3.0)
    before = used()
    time.sleep(IDLE_S)
    return {name: round((after - before[name]) / IDLE_S, 5) for name, after in used().items()}


@click.command()
@click.option("--media", type=click.Path(exists=True, file_okay=False, path_type=Path), default=os.environ.get("UNMASK_MEDIA"))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
@click.option("--frames", default=32, show_default=True)
@click.option("--rounds", default=12, show_default=True)
def main(media: Path | None, out: Path, frames: int, rounds: int) -> None:
    """Measure the console on real clips."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if media is None:
        raise click.UsageError(f"give --media or set UNMASK_MEDIA to a folder with {', '.join(CLIPS)}")
    from console.settings import ConsoleSettings
    from console.supervisor import Console
    from serving import EmbeddedTriton, ServingSettings

    results: dict[str, Any] = {"command": "python -m benchmarks.console", "machine": machine(), "frames": frames, "clips": {}}
    with (
        EmbeddedTriton(ServingSettings(grpc_port=0, http_port=0, metrics_port=0)) as triton,
        tempfile.TemporaryDirectory(prefix="unmask-bench-") as data,
    ):
        settings = ConsoleSettings(
            port=0, data_dir=Path(data), triton_url=triton.grpc_url, workers=1, rate_limit="100000/minute"
        )
        results["profile"] = triton.profile
        with Console(settings) as console:
            for name in CLIPS:
                results["clips"][name] = overhead(media / name, triton.grpc_url, console.url, frames, rounds)
            results["idle_processors"] = idle(console.pids())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    for name, found in results["clips"].items():
        ratio = found["api_over_library"]
        print(
            f"{name:32}library {found['library']['median_s']:.3f} s, API {found['api']['median_s']:.3f} s: {ratio['of_medians']:.3f} "
            f"of medians, {ratio['of_best']:.3f} of best, {ratio['median_of_rounds']:.3f} median of rounds; "
            f"{1e3 * found['api_outside_the_analysis_s']:.0f} ms outside the analysis"
        )
    print("idle: " + ", ".join(f"{name} {100 * share:.2f}%" for name, share in results["idle_processors"].items()))


if __name__ == "__main__":
    main()
