"""The guard by itself, around a program that always ends in the same way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.guard import RESTARTS
from tests.conftest import ROOT


def guarded(tmp_path: Path, program: str, *, ready: bool) -> "subprocess.CompletedProcess[str]":
    """What became of the guard; the pipe stays open until it ends by itself."""
    run_dir, repository = tmp_path / "run", tmp_path / "repository"
    run_dir.mkdir()
    (repository / "only_model" / "1").mkdir(parents=True)
    (repository / "only_model" / "config.pbtxt").touch()
    arguments = ("--shm-prefix", f"unmask_test_{tmp_path.name}_", "--drain-s", "0", "--http-url", "http://127.0.0.1:9")
    guard = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.guard", *arguments, "--run-dir", str(run_dir), "--repository", str(repository)),
            *("--", "sh", "-c", f"echo loads $1; {program}", "sh"),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    assert guard.stderr is not None
    with guard:
        if ready:
            guard.stdin.write("r")
            guard.stdin.flush()
        code = guard.wait(timeout=120)
        done = subprocess.CompletedProcess(guard.args, code, guard.stdout.read(), guard.stderr.read())
    assert not run_dir.exists()
    return done


def test_a_server_that_always_crashes_is_given_up(tmp_path: Path) -> None:
    done = guarded(tmp_path, "kill -SEGV $$", ready=True)
    assert done.returncode == 128 + signal.SIGSEGV
    assert done.stdout.splitlines() == ["loads --load-model=only_model"] * (RESTARTS + 1)
    assert done.stderr.count("unmask: Triton crashed (SIGSEGV): starting Triton anew") == RESTARTS
    assert f"Triton crashed (SIGSEGV) {RESTARTS + 1} times within" in done.stderr


@pytest.mark.parametrize(("program", "code"), [("kill -SEGV $$", 128 + signal.SIGSEGV), ("exit 1", 1)], ids=["crash", "exit"])
def test_a_server_that_was_never_ready_is_not_started_anew(tmp_path: Path, program: str, code: int) -> None:
    done = guarded(tmp_path, program, ready=False)
    assert done.returncode == code
    assert done.stdout.count("loads") == 1
    assert done.stderr == ""
