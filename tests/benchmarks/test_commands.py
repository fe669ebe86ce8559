"""`unmask bench` as it is typed: nonsense is refused, comparisons exit as they say."""

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
