"""A repository with another number of instances."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.commands import bench
from benchmarks.instances import with_instances
from benchmarks.record import load
from serving.repository import check_repository, models_to_load


def test_encoder_and_head_get_the_instances_and_nothing_else_changes(repository: Path) -> None:
    with with_instances(repository, 3) as folder:
        check_repository(folder)
        assert models_to_load(folder, explainer=True) == models_to_load(repository, explainer=True)
        for model in ("frame_encoder", "clip_head"):
            for name in ("config.pbtxt", "configs/cpu.pbtxt"):
                assert "count: 3" in (folder / model / name).read_text()
                assert "count: 3" not in (repository / model / name).read_text()
            assert (folder / model / "1").samefile(repository / model / "1")
        assert (folder / "deepfake_detector" / "config.pbtxt").samefile(repository / "deepfake_detector" / "config.pbtxt")
    assert not folder.exists()
    assert (repository / "frame_encoder" / "1").is_dir(), "what was linked is still there"


def test_without_a_number_it_is_the_repository_itself(repository: Path) -> None:
    with with_instances(repository, None) as folder:
        assert folder == repository


@pytest.mark.parametrize("option", [["--instances", "2"], ["--streams", "2", "--threads", "2"]], ids=" ".join)
def test_a_server_of_that_kind_is_measured(option: list[str], repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    arguments = [
        "load",
        "--clients",
        "2",
        "--duration",
        "1",
        "--frames",
        "2,4",
        "--repository",
        str(repository),
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(bench, [*arguments, *option])
    assert result.exit_code == 0, result.output + result.stderr
    run = load(out)
    assert run.settings[option[0].removeprefix("--")] == 2
    assert run.series[0].figures["failed"] == 0
