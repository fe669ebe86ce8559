"""Short runs on the real server, and runs that end early."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import psutil
import pytest
from click.testing import CliRunner

from benchmarks import server_statistics
from benchmarks.commands import bench
from benchmarks.record import Record, load
from serving import EmbeddedTriton
from tests.benchmarks.test_record import RECORD_SCHEMA
from tests.clips import write_demo
from tests.conftest import ROOT, free_port_settings


def run(arguments: list[str], out: Path) -> Record:
    """One command that must go well; its result, held against the schema."""
    result = CliRunner().invoke(bench, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output + result.stderr
    jsonschema.validate(json.loads(out.read_text()), RECORD_SCHEMA)
    return load(out)


def addresses(server: EmbeddedTriton) -> list[str]:
    """Options that name a running server."""
    return ["--url", server.grpc_url, "--http-url", server.http_url]


def test_frames_over_each_path_with_the_split(triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    record = run(
        ["frames", "--frames", "1,6", "--repeats", "2", "--budget", "1", *addresses(triton_cpu)], tmp_path / "run.json"
    )
    assert {series.name for series in record.series} == {f"{path} T={t}" for path in ("grpc", "http", "shm") for t in (1, 6)}
    for series in record.series:
        assert len(series.samples) >= 2
        split = series.figures["split_ms"]
        assert {"client encode", "network", "frame_encoder compute infer", "clip_head queue", "total"} <= set(split)
        parts = sum(value for name, value in split.items() if name != "total")
        # The clocks of two composing models overlap a little.
        assert 0.98 * split["total"] <= parts <= 1.5 * split["total"]
    assert not list(Path("/dev/shm").glob(f"unmask_bench_{os.getpid()}_*"))


def test_load_closed_and_open(triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    table = tmp_path / "load.csv"
    record = run(
        ["load", "--clients", "1,2", "--duration", "1", "--open", "80:3,150", "--open-duration", "2", "--frames", "2,4",
         "--csv", str(table), *addresses(triton_cpu)],
        tmp_path / "run.json",
    )  # fmt: skip
    answered = [series for series in record.series if series.labels.get("outcome") == "answered"]
    names = ["1 client", "2 clients", "open, 80% of the knee", "open, 100% of the knee", "open, 150% of the knee"]
    assert [series.name for series in answered] == names, "what is beyond the knee is compared with arrivals at the knee"
    for series in answered:
        assert series.samples
        assert series.figures["failed"] == 0
        assert "unsent" not in series.figures
    assert record.figures["knee"]["clients"] in (1, 2)
    lines = table.read_text().splitlines()
    assert lines[0].startswith("Concurrency,Request Rate,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue")
    assert [line.partition(",")[0] for line in lines[1:]] == ["1", "2", "", "", ""]


def test_pipeline_from_file_to_verdict_and_the_reference(triton: EmbeddedTriton, tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the reference pipeline needs dlib: pip install 'unmask[reference]'")
    video = tmp_path / "clip.mp4"
    write_demo(video)
    record = run(
        ["pipeline", str(video), "--frames", "2", "--against", "reference", "--repeats", "2", *addresses(triton)],
        tmp_path / "run.json",
    )
    assert record.find(pipeline="unmask", frames=2) is not None
    assert record.find(pipeline="unmask", stage="decode") is not None
    whole, single = (
        record.find(pipeline="reference", stage="as served"),
        record.find(pipeline="reference", stage="single detection pass"),
    )
    assert whole is not None
    assert single is not None
    assert single.samples[0] < whole.samples[0], "two detection passes take longer than one"
    if record.figures["same weights"]:
        scores = record.figures["score of our crops"]
        assert scores["served"] == pytest.approx(scores["PyTorch eager"], abs=1e-3)


def test_the_page_shows_every_run(triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'unmask[bench]'")
    out = tmp_path / "run.json"
    run(["frames", "--frames", "1,3", "--paths", "grpc", "--repeats", "2", "--budget", "1", *addresses(triton_cpu)], out)
    result = CliRunner().invoke(bench, ["render", str(out), "--out", str(tmp_path / "page")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page" / "index.html").read_text()
    assert "grpc T=3" in page
    pictures = sorted(path.name for path in (tmp_path / "page").glob("*.png"))
    assert pictures == ["frames-cost.png", "frames-latency.png", "frames-split.png"]
    assert page.count("data:image/png;base64,") == 3


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run in a process of its own, long enough to be ended from outside."""
    return subprocess.Popen(
        [sys.executable, "-m", "unmask", "bench", *arguments, "--out", str(out)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell starts what runs in the background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip


def wait_until_measured(command: "subprocess.Popen[str]", http_url: str, *, timeout_s: float = 120.0) -> None:
    """Waits until the server has answered more requests than the warm-up."""
    before = requests(http_url)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and command.poll() is None:
        if requests(http_url) > before + 20:
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing was measured: {command.communicate()[1]}")


def requests(http_url: str) -> int:
    """Requests that the detector has answered."""
    counters = server_statistics.read(http_url).get("deepfake_detector")
    return counters.requests if counters else 0


ENDLESS = ("frames", "--frames", "1", "--paths", "grpc", "--repeats", "10000", "--budget", "300")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_keeps_what_was_measured(number: signal.Signals, triton_cpu: EmbeddedTriton, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    command = start(out, *ENDLESS, *addresses(triton_cpu))
    try:
        wait_until_measured(command, triton_cpu.http_url)
        command.send_signal(number)
        output, errors = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == 130, errors
    record = load(out)
    assert (record.state, record.reason) == ("interrupted", f"interrupted ({number.name})")
    assert len(record.series[0].samples) > 5
    assert "what was measured until then is kept" in output
    assert "Traceback" not in errors


def test_a_server_that_dies_in_mid_run_gives_a_partial_result(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with EmbeddedTriton(free_port_settings(repository, profile="cpu")) as server:
        command = start(out, *ENDLESS, *addresses(server))
        try:
            wait_until_measured(command, server.http_url)
            next(process for pid in server.pids() if (process := psutil.Process(pid)).name() == "tritonserver").kill()
            _, errors = command.communicate(timeout=90)
        finally:
            command.kill()
    assert command.returncode == 3, errors
    record = load(out)
    assert record.state == "partial"
    assert "the server ended in mid-run" in record.reason
    assert len(record.series[0].samples) > 5, "what was measured is kept"
    assert "Traceback" not in errors
