"""Folders of servers that were killed together with their guards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving import run_directory


def age(folder: Path) -> None:
    """Makes the folder two hours old."""
    old = time.time() - 2 * run_directory.SWEEP_AGE_S
    os.utime(folder, (old, old))


def test_a_folder_is_swept_when_nobody_holds_it_and_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, hold = run_directory.make()
    (folder / "backends").mkdir()
    age(folder)
    assert run_directory.sweep() == [], "its owner lives"
    # The guard holds it, too, and outlives the launcher.
    guard = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(hold,))
    os.close(hold)
    try:
        assert run_directory.sweep() == [], "its guard lives"
    finally:
        guard.kill()
        guard.communicate()
    os.utime(folder)
    assert run_directory.sweep() == [], "it may have been made just now"
    age(folder)
    assert run_directory.sweep() == [folder]
    assert not folder.exists()


def test_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    age(elsewhere)
    (shared / f"{run_directory.PREFIX}x").symlink_to(elsewhere)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    assert run_directory.sweep() == []
    assert elsewhere.is_dir()


def test_a_start_sweeps_first(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving import EmbeddedTriton
    from tests.conftest import free_port_settings

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, hold = run_directory.make()
    os.close(hold)
    age(folder)
    with EmbeddedTriton(free_port_settings(repository, profile="reference")):
        assert not folder.exists()
        [own] = tmp_path.glob(f"{run_directory.PREFIX}*")
        age(own)
        assert run_directory.sweep() == []
    assert list(tmp_path.glob(f"{run_directory.PREFIX}*")) == []
