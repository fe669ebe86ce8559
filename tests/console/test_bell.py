"""Processes wake each other, so that nobody has to look many times a second."""

import os
import threading
from pathlib import Path

import httpx

from console.bell import Bells
from console.supervisor import Console
from serving import EmbeddedTriton
from tests.console.conftest import console_settings, uploaded


def test_a_ring_is_heard_before_and_while_waiting(tmp_path: Path) -> None:
    bells = Bells(tmp_path)
    worker, api = bells.hang("worker"), bells.hang("api")
    bells.ring("worker")
    assert worker.wait(0)
    assert not worker.wait(0), "one ring wakes once"
    assert not api.wait(0)
    heard = threading.Event()

    def listen() -> None:
        if worker.wait(120):
            heard.set()

    waiter = threading.Thread(target=listen)
    waiter.start()
    bells.ring("worker")
    waiter.join()
    assert heard.is_set()
    for _ in range(100_000 // 4096 + 70_000):  # more than a pipe holds
        worker.ring()
    bells.ring("worker")
    assert worker.wait(0)
    worker.close()
    api.close()
    bells.ring("worker")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_taken_down(tmp_path: Path) -> None:
    bells = Bells(tmp_path)
    mine = bells.hang("worker")
    left = mine._path.with_name(mine._path.name + "-killed")
    os.mkfifo(left)
    elsewhere = tmp_path / "worker.another-machine.1.x"
    os.mkfifo(elsewhere)
    bells.ring("worker")
    assert mine.wait(0)
    assert not left.exists()
    assert elsewhere.exists(), "another machine's bell has its reader there"
    mine.close()


def test_upload_to_verdict_without_anybody_looking(detectors: EmbeddedTriton, tmp_path: Path, clips: dict[str, Path]) -> None:
    # Nobody looks by himself within this test: only rings move it on.
    settings = console_settings(tmp_path, triton_url=detectors.grpc_url, workers=1, poll_s=3600)
    with Console(settings) as running, httpx.Client(base_url=running.url, timeout=120, trust_env=False) as client:
        for _ in range(2):
            assert uploaded(client, clips["face.jpg"])["state"] == "done"
        names = sorted(path.name.partition(".")[0] for path in settings.bells_dir.iterdir())
        assert names == ["api", "worker"]
    assert list(settings.bells_dir.iterdir()) == []
