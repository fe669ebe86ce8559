"""Files that are whole or not there, also when the writer fails or is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.files import written_whole


def test_a_file_appears_in_a_folder_that_was_not_there(tmp_path: Path) -> None:
    with written_whole(tmp_path / "new" / "file.json") as place:
        place.write_text("{}")
        assert not (tmp_path / "new" / "file.json").exists()
    assert (tmp_path / "new" / "file.json").read_text() == "{}"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), written_whole(path) as place:
        place.write_text(f"half of what {place.write_text('there is') // 0}")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    (tmp_path / "file.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), written_whole(path) as place:
        place.write_text("x" * 100_000)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    program = (
        "import os, signal, sys; from pathlib import Path; from common.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as place:\n"
        "    place.write_text('half of what'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, os.fspath(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "before"
