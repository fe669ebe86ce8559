"""`unmask serve` starts Triton, API and console together, as a user starts it, and takes them down together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tests.console.conftest import uploaded


def start(repository: Path, data: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, on free ports."""
    ports = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "console")]
    return subprocess.Popen(
        [sys.executable, "-m", "unmask", "serve", "--repository", str(repository), "--profile", "cpu", *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "UNMASK_CONSOLE_DATA_DIR": str(data), "UNMASK_CONSOLE_WORKERS": "1", "PYTHONUNBUFFERED": "1"},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, process.stderr.read() if process.stderr else ""
    return text


def gone(pids: list[int]) -> Callable[[], bool]:

    def runs(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return lambda: not any(runs(pid) for pid in pids)


def test_together(repository: Path, tmp_path: Path, clips: dict[str, Path]) -> None:
    process = start(repository, tmp_path)
    try:
        assert line(process).startswith("ready: profile cpu")
        found = re.fullmatch(r"console: (http://127\.0\.0\.1:\d+)\n", line(process))
        assert found is not None
        with httpx.Client(base_url=found[1], timeout=120, trust_env=False) as client:
            assert uploaded(client, clips["face.jpg"])["state"] == "done"
            assert "Has this face been manipulated?" in client.get("/").text
        children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert gone(children)()
    finally:
        process.kill()
        process.communicate()


def test_without_the_console(repository: Path, tmp_path: Path) -> None:
    process = start(repository, tmp_path, "--no-console")
    try:
        assert line(process).startswith("ready: profile cpu")
        names = [" ".join(child.cmdline()) for child in psutil.Process(process.pid).children(recursive=True)]
        assert not any("console.server" in name or "console.worker" in name for name in names)
        assert list(tmp_path.iterdir()) == []
        children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.kill()  # as kill -9 of the whole command: the guard takes Triton down
        process.wait()
        deadline = time.monotonic() + 60
        while not gone(children)():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()


def test_openapi_document_is_complete() -> None:
    """Made without a server: every route says its errors and has a summary."""
    from console.app import create_app
    from tests.console.conftest import console_settings

    document = create_app(console_settings(Path("unused"))).openapi()
    json.dumps(document)
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            assert facts["summary"], f"{method} {path}"
            if path.startswith("/v1/analyses"):
                assert "401" in facts["responses"], f"{method} {path}"
