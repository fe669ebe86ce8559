"""kill -9 of every part in the middle of analyses: after it is back, each accepted analysis ends in exactly one result."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from console.supervisor import Console
from serving import EmbeddedTriton
from tests.clips import portrait, write_video
from tests.conftest import free_port_settings
from tests.console.conftest import console_settings, uploaded


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes a moment."""
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", portrait(4.0, (480, 360)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@pytest.fixture(scope="module")
def kept(detectors: EmbeddedTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with two workers."""
    data = tmp_path_factory.mktemp("kept")
    with Console(console_settings(data, triton_url=detectors.grpc_url, workers=2)) as console:
        yield console


@pytest.fixture
def running(kept: Console) -> Console:
    """The same, with nothing in it."""
    with httpx.Client(base_url=kept.url, timeout=60, trust_env=False) as client:
        for item in client.get("/v1/analyses", params={"limit": 200}).json()["items"]:
            client.delete(item["links"]["self"])
    return kept


def accept(url: str, clip: Path, count: int) -> list[str]:
    """Uploads the clip so many times; ids of what was accepted."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        answers = [
            client.post(
                "/v1/analyses",
                files={"file": (f"{number}.mp4", clip.read_bytes())},
                data={"frames": "32", "detector": "trained_fake"},
            )
            for number in range(count)
        ]
    assert [answer.status_code for answer in answers] == [202] * count
    return [answer.json()["id"] for answer in answers]


def until(condition: Callable[[], Any], limit_s: float = 90.0) -> Any:
    """What the condition gives when it holds."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return value


def states(url: str) -> dict[str, dict[str, Any]]:
    """All analyses by id; empty while the API is away."""
    try:
        items = httpx.get(f"{url}/v1/analyses", params={"limit": 200}, timeout=10, trust_env=False).json()["items"]
    except (httpx.TransportError, ValueError):
        return {}
    return {item["id"]: item for item in items}


def one_runs(url: str) -> Callable[[], bool]:
    """Whether an analysis is in the middle of its work."""
    return lambda: any(item["progress"]["stage"] in ("faces", "network") for item in states(url).values())


def check_ends(console: Console, url: str, ids: list[str]) -> list[int]:
    """Each ends in exactly one verdict, with one folder of results and no upload; numbers of attempts."""
    until(lambda: (now := states(url)) and all(now[item]["state"] in ("done", "failed") for item in ids))
    ended = states(url)
    assert set(ended) == set(ids)
    assert {item["label"] for item in ended.values()} == {"FAKE"}, [item["error"] for item in ended.values()]
    until(lambda: list(console.settings.uploads_dir.iterdir()) == [])
    until(lambda: all(len(list((console.settings.results_dir / item).iterdir())) == 1 for item in ids))
    assert {path.name for path in console.settings.results_dir.iterdir()} == set(ids)
    return sorted(item["attempts"] for item in ended.values())


def test_worker(running: Console, long_clip: Path) -> None:
    ids = accept(running.url, long_clip, 5)
    until(one_runs(running.url))
    before = running.pids()
    busy = [name for name in before if name.startswith("worker")]
    children = [child for name in busy for child in psutil.Process(before[name]).children(recursive=True)]
    for name in busy:
        os.kill(before[name], signal.SIGKILL)
    assert check_ends(running, running.url, ids)[-1] == 2
    after = running.pids()
    assert all(after[name] != before[name] for name in busy)
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_api(running: Console, long_clip: Path) -> None:
    ids = accept(running.url, long_clip, 3)
    until(one_runs(running.url))
    before = running.pids()["api"]
    os.kill(before, signal.SIGKILL)
    # The listening socket outlives it: this request waits for the next process instead of being refused.
    ids += accept(running.url, long_clip, 1)
    assert check_ends(running, running.url, ids) == [1] * 4
    assert running.pids()["api"] != before


def test_triton(detectors_repository: Path, tmp_path: Path, long_clip: Path) -> None:
    ports = {"grpc_port": _free_port(), "http_port": _free_port(), "metrics_port": _free_port()}
    settings = free_port_settings(detectors_repository, profile="reference", explainer=False).model_copy(update=ports)
    triton = EmbeddedTriton(settings).start()
    try:
        with Console(console_settings(tmp_path, triton_url=triton.grpc_url, workers=2)) as console:
            ids = accept(console.url, long_clip, 4)
            until(one_runs(console.url))
            server = next(
                item
                for item in psutil.process_iter(["name", "pid"])
                if item.pid in triton.pids() and "tritonserver" in item.name()
            )
            server.kill()
            until(lambda: not triton.alive())
            triton.stop()
            until(lambda: any(item["progress"]["stage"] == "waiting" for item in states(console.url).values()))
            triton = EmbeddedTriton(settings).start()
            assert check_ends(console, console.url, ids) == [1] * 4  # waiting for a server is no attempt
    finally:
        triton.stop()


def test_everything_at_once(detectors: EmbeddedTriton, tmp_path: Path, long_clip: Path) -> None:
    """The power goes: API, workers and decoders die together; a new console finds the queue as it was."""
    settings = console_settings(tmp_path, triton_url=detectors.grpc_url, workers=2)
    # Its leases end soon, since nobody is left to say that its workers are dead; those of the next are as long as ever, since a busy
    # machine may well stop a worker for seconds.
    first = Console(settings.model_copy(update={"lease_s": 4.0})).start()
    try:
        ids = accept(first.url, long_clip, 4)
        until(one_runs(first.url))
        first._stopping.set()  # its watch must not start them again
        assert first._thread is not None
        first._thread.join()
        for pid in first.pids().values():
            os.kill(pid, signal.SIGKILL)
    finally:
        first.stop()
    with Console(settings) as second:
        attempts = check_ends(second, second.url, ids)
        assert set(attempts) <= {1, 2}
        assert attempts[-1] == 2


def test_stop_finishes_what_is_at_hand(detectors: EmbeddedTriton, tmp_path: Path, long_clip: Path) -> None:
    settings = console_settings(tmp_path, triton_url=detectors.grpc_url, workers=1)
    with Console(settings) as first:
        ids = accept(first.url, long_clip, 2)
        until(one_runs(first.url))
        pids = first.pids()
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    with Console(settings) as second:
        assert check_ends(second, second.url, ids) == [1, 1]


def test_consoles_that_share_a_database_must_share_a_folder(
    detectors: EmbeddedTriton, tmp_path: Path, clips: dict[str, Path]
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    taking = console_settings(tmp_path / "a", database_url=url, triton_url=detectors.grpc_url)
    working = console_settings(tmp_path / "b", database_url=url, triton_url=detectors.grpc_url, workers=1)
    with Console(taking) as first, Console(working), httpx.Client(base_url=first.url, timeout=120, trust_env=False) as client:
        document = uploaded(client, clips["face.jpg"])
    assert (document["state"], document["error"]["code"]) == ("failed", "upload_missing")
    assert "UNMASK_CONSOLE_DATA_DIR" in document["error"]["message"]


def test_two_consoles_on_one_folder(detectors: EmbeddedTriton, tmp_path: Path, clips: dict[str, Path]) -> None:
    settings = console_settings(tmp_path, triton_url=detectors.grpc_url, workers=1)
    with (
        Console(settings) as one,
        Console(settings) as other,
        httpx.Client(base_url=one.url, timeout=120, trust_env=False) as here,
        httpx.Client(base_url=other.url, timeout=120, trust_env=False) as there,
    ):
        data = clips["face.jpg"].read_bytes()
        headers = {"idempotency-key": "once"}
        first = here.post("/v1/analyses", files={"file": ("a.jpg", data)}, headers=headers)
        again = there.post("/v1/analyses", files={"file": ("a.jpg", data)}, headers=headers)
        assert again.json()["id"] == first.json()["id"]
        refused = there.post("/v1/analyses", files={"file": ("a.jpg", data + b"other")}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        documents = [uploaded(client, clips["face.jpg"]) for client in (here, there, here, there)]
        assert {(document["state"], document["attempts"]) for document in documents} == {("done", 1)}
        assert here.get("/v1/analyses").json()["total"] == 5
        there.delete(documents[0]["links"]["self"])
        assert here.get(documents[0]["links"]["self"]).status_code == 404
