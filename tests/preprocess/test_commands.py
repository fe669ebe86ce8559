"""``unmask faces``."""

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from cv2 import imread
from PIL import Image

from unmask.cli import main


def test_faces_writes_crops_sheet_and_json(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video at all")
    arguments = [
        "faces",
        str(clips["two_faces.mp4"]),
        str(tmp_path / "broken.mp4"),
        "--out",
        str(tmp_path / "out"),
        "--frames",
        "6",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert (good["faces"], good["frames"]) == (2, [6, 6])
    assert bad["error"] == "unsupported_media"
    folder = Path(good["folder"])
    report = json.loads((folder / "faces.json").read_text())
    crops = [crop for clip in report["clips"] for crop in clip["crops"]]
    assert len(crops) == 12
    assert {imread(str(folder / crop)).shape for crop in crops} == {(112, 112, 3)}
    assert report["source"]["codec"] == "h264"
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.width > 1000
        # The first crop stands in the sheet as it is.
        with Image.open(folder / crops[0]) as crop:
            pixels, expected = sheet.convert("RGB").crop((18, 116, 130, 228)), crop.convert("RGB")
            assert pixels.tobytes() == expected.tobytes()


def test_files_of_one_name_get_folders_of_their_own(clips: dict[str, Path], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "clip.gif").write_bytes(clips["one_face.gif"].read_bytes())
    result = CliRunner().invoke(main, ["faces", str(tmp_path), "--out", str(tmp_path / "out"), "--frames", "2"])
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.gif", "clip.gif.2"]


def test_any_name_fits_into_the_sheet(clips: dict[str, Path], tmp_path: Path) -> None:
    names = [b"caf\xe9.gif", b"new\nline.gif", b"-dash.gif", b"w" * 251 + b".gif"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(clips["one_face.gif"].read_bytes())
    result = CliRunner().invoke(main, ["faces", str(tmp_path), "--out", str(tmp_path / "out"), "--frames", "2"])
    assert result.exit_code == 0
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(os.fsencode(Path(line["folder"]).name) for line in said) == sorted(names)
    for line in said:
        with Image.open(Path(line["folder"], "contact_sheet.png")) as sheet:
            # Right margin, and the place between the name and the line of facts.
            for box in ((1430, 0, 1446, 60), (0, 41, 1446, 45)):
                assert sheet.crop(box).getextrema() == ((255, 255),) * 3


def test_files_are_read_side_by_side_and_told_in_order(clips: dict[str, Path], tmp_path: Path) -> None:
    paths = [str(clips["two_faces.mp4"]), str(tmp_path / "absent"), str(clips["one_face.gif"]), str(clips["no_face.mp4"])]
    arguments = ["faces", *paths, "--out", str(tmp_path / "out"), "--frames", "2", "--workers", "2"]
    result = CliRunner().invoke(main, arguments)
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [line["path"] for line in said] == paths
    assert [line.get("faces", line.get("error")) for line in said] == [2, "not_found", 1, 0]


def test_a_second_run_reads_and_leaves_nothing_of_the_first(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "clip.gif").write_bytes(clips["one_face.gif"].read_bytes())
    out = tmp_path / "out"
    for frames in (5, 2):
        result = CliRunner().invoke(main, ["faces", str(tmp_path), "--out", str(out), "--frames", str(frames)])
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) == 1
    report = json.loads((out / "clip.gif" / "faces.json").read_text())
    left = sorted(str(path.relative_to(out / "clip.gif")) for path in (out / "clip.gif").rglob("*.png"))
    assert left == sorted([*report["clips"][0]["crops"], "contact_sheet.png"])


def test_a_folder_that_cannot_be_written_is_named(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ["faces", str(clips["one_face.gif"]), "--out", str(tmp_path / "file" / "out"), "--frames", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "out/one_face.gif cannot be written" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_usage_errors(clips: dict[str, Path], tmp_path: Path) -> None:
    arguments = ["faces", str(clips["one_face.gif"]), "--out", str(tmp_path), "--frames", "0"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "frames is 0; it must be from 1 to 10000" in result.stderr


def test_importing_the_package_is_cheap() -> None:
    script = (
        "import sys, preprocess; print([name for name in ('cv2', 'mediapipe', 'av', 'PIL', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
