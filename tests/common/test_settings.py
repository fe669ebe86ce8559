"""Settings of all areas are read in one way: finite numbers in their range, and no name that there is not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.settings import ClientSettings
from common.errors import InvalidSettings
from common.settings import AreaSettings
from console.settings import ConsoleSettings
from preprocess.settings import PreprocessSettings
from serving import EmbeddedTriton
from serving.errors import RepositoryError
from serving.settings import ServingSettings
from tests.conftest import ROOT, free_port_settings
from unmask.cli import main

AREAS: list[tuple[str, type[AreaSettings]]] = [
    ("CLIENT", ClientSettings),
    ("CONSOLE", ConsoleSettings),
    ("PREPROCESS", PreprocessSettings),
    ("SERVING", ServingSettings),
]


@pytest.mark.parametrize(("area", "settings"), AREAS)
def test_a_name_that_there_is_not(area: str, settings: type[AreaSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"UNMASK_{area}_NO_SUCH_THING", "1")
    with pytest.raises(InvalidSettings, match=f"no setting UNMASK_{area}_NO_SUCH_THING"):
        settings()


def test_a_typo_is_told_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_SERVING_PROFIL", "cpu")
    with pytest.raises(InvalidSettings, match=r"did you mean UNMASK_SERVING_PROFILE$"):
        ServingSettings()


@pytest.mark.parametrize("value", ["abc", "inf", "nan", "-1"])
@pytest.mark.parametrize(
    ("variable", "settings"),
    [
        ("UNMASK_CLIENT_DEADLINE_S", ClientSettings),
        ("UNMASK_CONSOLE_SERVER_WAIT_S", ConsoleSettings),
        ("UNMASK_PREPROCESS_MAX_WALL_S", PreprocessSettings),
        ("UNMASK_SERVING_DRAIN_TIMEOUT_S", ServingSettings),
    ],
)
def test_a_value_outside_its_range(
    variable: str, settings: type[AreaSettings], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings) as caught:
        settings()
    assert str(caught.value).startswith(f"{variable} is '{value}': ")
    assert "\n" not in str(caught.value)


def test_a_given_value_goes_by_its_own_name() -> None:
    with pytest.raises(InvalidSettings, match=r"^drain_timeout_s is inf: "):
        ServingSettings(drain_timeout_s=float("inf"))


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["detect", "x.mp4"], {"UNMASK_SERVING_THREADS": "x"}, "UNMASK_SERVING_THREADS is 'x'"),
        (["detect", "x.mp4", "--url", "localhost:1"], {"UNMASK_CLIENT_DEADLINE_S": "abc"}, "UNMASK_CLIENT_DEADLINE_S is 'abc'"),
        (["serve", "--drain-timeout", "inf"], {}, "drain_timeout_s is inf"),
    ],
)
def test_wrong_settings_are_wrong_usage(
    arguments: list[str], environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no film")
    done = subprocess.run(
        [sys.executable, "-m", "unmask", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_start_that_fails_early_leaves_no_folder(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = EmbeddedTriton(free_port_settings(repository, profile="reference"))

    def fail(*_: object) -> None:
        raise OverflowError("as a number that has no end once did")

    monkeypatch.setattr(server, "_command", fail)
    with pytest.raises(OverflowError):
        server.start()
    assert list(tmp_path.iterdir()) == []


def test_verbose_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[ServingSettings] = []

    def stop(self: EmbeddedTriton) -> EmbeddedTriton:
        seen.append(self.settings)
        raise RepositoryError("seen enough")

    monkeypatch.setattr(EmbeddedTriton, "start", stop)
    monkeypatch.setenv("UNMASK_SERVING_VERBOSE", "2")
    CliRunner().invoke(main, ["serve", "--no-console", "--repository", str(tmp_path)])
    CliRunner().invoke(main, ["serve", "--no-console", "--repository", str(tmp_path), "-vv"])
    assert [settings.verbose for settings in seen] == [2, 1]


def test_each_variable_that_the_help_of_serve_names_is_a_setting() -> None:
    text = " ".join(CliRunner().invoke(main, ["serve", "--help"]).output.split())
    named = set(re.findall(r"UNMASK_SERVING_([A-Z_]+)", text))
    assert {"MODEL_REPOSITORY", "MICRO_BATCH_FRAMES", "DRAIN_TIMEOUT_S"} <= named
    assert {name.lower() for name in named} <= set(ServingSettings.model_fields)
