"""`unmask bench` as it is typed: nonsense is refused, comparisons exit as they say."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.commands import bench
from benchmarks.record import Kind, Record, Series


def run_file(path: Path, scale: float, kind: Kind = "frames", name: str = "grpc T=1") -> Path:
    """A result whose times are ``scale`` times those of another."""
    samples = [scale * (0.01 + 0.0001 * number) for number in range(20)]
    labels: dict[str, str | int | float] = {"path": "grpc", "frames": 1}
    Record(kind=kind, settings={}, series=[Series(name=name, unit="s", samples=samples, labels=labels)]).save(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frames", "--frames", "0"], "'0' is not a whole number from 1 to 256"),
        (["frames", "--frames", "100,257"], "'257' is not a whole number from 1 to 256"),
        (["frames", "--frames", "ten"], "'ten' is not a whole number"),
        (["frames", "--paths", "grpc,carrier-pigeon"], "carrier-pigeon: there are grpc, http, shm"),
        (["frames", "--paths", ""], "--paths is empty"),
        (["frames", "--url", "127.0.0.1:1", "--paths", "http"], "needs the server's HTTP address"),
        (["frames", "--http-url", "127.0.0.1:1", "--paths", "grpc"], "needs the server's gRPC address"),
        (["load", "--url", "127.0.0.1:1", "--path", "http"], "needs the server's HTTP address"),
        (
            ["frames", "--url", "127.0.0.1:1", "--paths", "grpc", "--streams", "2"],
            "--streams is for a server that is started here",
        ),
        (["frames", "--instances", "0"], "1<=x<=64"),
        (["frames", "--budget", "0"], "x>=1"),
        (["frames", "--profile", "fast"], "'fast' is not one of"),
        (["engines", "--engines", "abacus"], "abacus: there are torch-eager"),
        (["load", "--clients", "-1"], "'-1' is not a whole number"),
        (["load", "--open", "0"], "'0' is not a whole number"),
        (["load", "--open", "80:"], "'' is not a whole number of seconds"),
        (["load", "--path", "http", "--perf-analyzer"], "measures gRPC"),
        (["soak", "--requests", "0"], "4<=x"),
        (["pipeline", "no-such.mp4"], "does not exist"),
        (["compare", "no-such.json", "no-such.json"], "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_regression_exits_with_1(tmp_path: Path) -> None:
    before, slower = run_file(tmp_path / "a.json", 1.0), run_file(tmp_path / "b.json", 1.3)
    result = CliRunner().invoke(bench, ["compare", str(before), str(slower)])
    assert result.exit_code == 1
    assert "SLOWER" in result.stdout
    assert CliRunner().invoke(bench, ["compare", str(slower), str(before)]).exit_code == 0
    assert CliRunner().invoke(bench, ["compare", str(before), str(slower), "--threshold", "0.5"]).exit_code == 0
    assert CliRunner().invoke(bench, ["compare", str(before), str(before)]).exit_code == 0


def test_only_what_both_measured_is_compared(tmp_path: Path) -> None:
    frames, load = run_file(tmp_path / "a.json", 1.0), run_file(tmp_path / "b.json", 1.0, kind="load")
    other = run_file(tmp_path / "c.json", 1.0, name="grpc T=2")
    for first, second, message in ((frames, load, "compare two of a kind"), (frames, other, "share no series")):
        result = CliRunner().invoke(bench, ["compare", str(first), str(second)])
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_regression_needs_enough_samples(tmp_path: Path) -> None:
    for name, samples in (("a", [1.0, 1.0]), ("b", [2.0, 2.0])):
        labels: dict[str, str | int | float] = {"pipeline": "reference"}
        series = [Series(name="reference: as served", unit="s", samples=samples, labels=labels)]
        Record(kind="pipeline", settings={}, series=series).save(tmp_path / f"{name}.json")
    result = CliRunner().invoke(bench, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert result.exit_code == 0
    assert "too few samples" in result.stdout


def test_open_loops_of_different_rates_are_not_compared(tmp_path: Path) -> None:
    for name, rate, scale in (("a", 10.0, 1.0), ("same", 10.05, 1.0), ("faster", 12.0, 3.0)):
        samples = [scale * (0.1 + 0.001 * number) for number in range(20)]
        series = [
            Series(name="1 client", unit="s", samples=[0.1] * 9, labels={"kind": "closed", "load": 1.0}),
            Series(name="open, 80% of the knee", unit="s", samples=samples, labels={"kind": "open", "load": rate}),
        ]
        Record(kind="load", settings={}, series=series).save(tmp_path / f"{name}.json")
    before = str(tmp_path / "a.json")
    result = CliRunner().invoke(bench, ["compare", before, str(tmp_path / "faster.json")])
    assert result.exit_code == 0
    assert "not compared, for their rates differ (10 and 12 requests/s): open, 80% of the knee" in result.stderr
    assert "80%" not in result.stdout
    assert "80%" in CliRunner().invoke(bench, ["compare", before, str(tmp_path / "same.json")]).stdout


def test_what_two_runs_do_not_have_in_common_is_said(tmp_path: Path) -> None:
    before, after = run_file(tmp_path / "a.json", 1.0), run_file(tmp_path / "b.json", 1.0)
    content = json.loads(after.read_text())
    content["settings"] = {"profile": "reference", "repeats": 3}
    content["series"].append({**content["series"][0], "name": "grpc T=2"})
    after.write_text(json.dumps(content))
    result = CliRunner().invoke(bench, ["compare", str(before), str(after)])
    assert result.exit_code == 0
    assert "the two runs differ in profile: None and reference" in result.stderr
    assert "repeats" not in result.stderr
    assert "only in one of the files: grpc T=2" in result.stderr


@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = ["load", "--url", "127.0.0.1:1", "--out", str(tmp_path / "run.json"), option, str(tmp_path / "file" / "result")]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 2
    assert "result cannot be written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nobody_at_the_address_is_said_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = CliRunner().invoke(bench, ["frames", "--url", address, "--paths", "grpc", "--out", str(out)])
        assert result.exit_code == 3
        assert f"nobody listens at {address}" in result.stderr
        result = CliRunner().invoke(bench, ["frames", "--http-url", address, "--paths", "http", "--out", str(out)])
        assert f"nobody listens at http://{address}" in result.stderr
    assert not out.exists()


def test_render_passes_over_what_another_program_wrote_and_refuses_damage(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'unmask[bench]'")
    run, foreign = run_file(tmp_path / "a.json", 1.0), tmp_path / "other.json"
    foreign.write_text('{"command": "another"}')
    page = ["--out", str(tmp_path / "page")]
    result = CliRunner().invoke(bench, ["render", str(run), str(foreign), *page])
    assert result.exit_code == 0, result.output
    assert "passed over" in result.stderr
    assert "other.json" in result.stderr
    assert CliRunner().invoke(bench, ["render", str(foreign), *page]).exit_code == 2
    for damage in ('"frames": 1', '"cores"'):
        broken = tmp_path / "broken.json"
        broken.write_text(run.read_text().replace(damage, damage.replace("frames", "f").replace("cores", "c")))
        result = CliRunner().invoke(bench, ["render", str(broken), *page])
        assert result.exit_code == 2
        assert "damaged" in result.stderr
