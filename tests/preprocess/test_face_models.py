"""Set-up of the detectors' weights."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from preprocess import face_models
from preprocess.errors import FaceModelMissingError
from tests.conftest import ROOT


def test_set_up_is_complete_and_then_does_nothing() -> None:
    assert face_models.missing() == []
    assert face_models.install() == []
    assert [path.stat().st_size for path in face_models.installed_models()] == [229_714, 676_746]


def test_missing_and_damaged_weights_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FaceModelMissingError, match=r"cannot be read .*run `unmask setup`"):
        face_models.load(face_models.SHORT_RANGE, tmp_path)
    (tmp_path / face_models.SHORT_RANGE.file_name).write_bytes(b"damaged")
    with pytest.raises(FaceModelMissingError, match=r"has SHA-256 .*delete it and run"):
        face_models.load(face_models.SHORT_RANGE, tmp_path)


def test_weights_come_out_of_the_wheel_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for model in face_models.MODELS:
            archive.writestr(f"mediapipe/modules/face_detection/{model.file_name}", face_models.load(model))
    monkeypatch.setattr(face_models, "_fetch_wheel", lambda _: wheel)
    target = tmp_path / "data"
    assert [path.name for path in face_models.install(target)] == [model.file_name for model in face_models.MODELS]
    assert face_models.missing(target) == []

    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"mediapipe/modules/face_detection/{face_models.FULL_RANGE.file_name}", b"other weights")
    face_models.installed_models(target)[1].unlink()
    with pytest.raises(FaceModelMissingError, match="it is not installed"):
        face_models.install(target)
    assert sorted(path.name for path in target.iterdir()) == [face_models.SHORT_RANGE.file_name]


@pytest.mark.parametrize("command", [["preprocess.face_models"], ["unmask", "setup"]])
def test_set_up_on_the_command_line(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout == ""


def test_the_readme_names_the_step_that_a_client_needs() -> None:
    assert "unmask setup" in (ROOT / "README.md").read_text()
