"""Keeps the API process and the workers running, and ends them with itself.

The listening socket is made here and handed down: when the API process dies, connections wait in the socket's queue until the next
one accepts them, instead of being refused.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from console.bell import Bells
from console.database import Database
from console.jobs import JobQueue
from console.settings import ConsoleSettings
from console.worker import new_worker_id

logger = logging.getLogger("unmask.console")
_LOOK_S = 0.1
_STEADY_S = 10.0
_MAX_PAUSE_S = 10.0
_START_S = 60.0
_KILL_AFTER_S = 5.0


class ConsoleStartError(Exception):
    """The console did not start; the message says why."""


@dataclass(slots=True)
class _Child:
    name: str
    module: str
    process: subprocess.Popen[bytes] | None = None
    worker_id: str | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    descriptors: list[int] = field(default_factory=list)


class Console:
    """API and workers as child processes; a context manager."""

    def __init__(self, settings: ConsoleSettings, *, log_level: str = "WARNING") -> None:
        self.settings = settings
        self._log_level = log_level
        self._listener: socket.socket | None = None
        self._children: list[_Child] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._database: Database | None = None
        self._queue: JobQueue | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        assert self._listener is not None
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def pids(self) -> dict[str, int]:
        """Process ids by name: ``api``, ``worker-0``, ..."""
        return {
            child.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def start(self) -> "Console":
        """Returns when the API answers.

        Raises:
            ConsoleStartError: The port is taken, the folder cannot be written, or the API did not come up.
        """
        settings = self.settings
        try:
            settings.make_dirs()
            self._listener = _listen(settings.host, settings.port)
        except OSError as error:
            raise ConsoleStartError(
                f"the console cannot use {settings.host}:{settings.port} or {settings.data_dir}: {error.strerror or error}; "
                "choose another --console-port or UNMASK_CONSOLE_DATA_DIR"
            ) from error
        self._database = Database(settings.database)
        self._database.create()
        self._queue = JobQueue(
            self._database, lease_s=settings.lease_s, max_attempts=settings.max_attempts, result_ttl_s=settings.result_ttl_s,
            bells=Bells(settings.bells_dir),
        )  # fmt: skip
        self._children = [_Child("api", "console.server", descriptors=[self._listener.fileno()])]
        self._children += [_Child(f"worker-{number}", "console.worker") for number in range(settings.workers)]
        try:
            for child in self._children:
                self._spawn(child)
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        self._thread = threading.Thread(target=self._watch, name="unmask-console", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends everything; analyses at hand get ``drain_s``. May be called twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + self.settings.drain_s + _KILL_AFTER_S
        for process in running:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._children = []
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> "Console":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _spawn(self, child: _Child) -> None:
        arguments: list[str] = [str(number) for number in child.descriptors]
        if child.module == "console.worker":
            child.worker_id = new_worker_id()
            arguments = [child.worker_id]
        child.process = subprocess.Popen(
            [sys.executable, "-m", child.module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=child.descriptors,
            env=self._environment(),
        )
        child.started_at = time.monotonic()

    def _environment(self) -> dict[str, str]:
        """This process's settings for a child, whatever they were made of."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UNMASK_CONSOLE_")}
        for name, value in self.settings.model_dump(mode="json", exclude_none=True).items():
            environment[f"UNMASK_CONSOLE_{name.upper()}"] = _to_text(value)
        environment["UNMASK_LOG_LEVEL"] = self._log_level
        root = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in (root, environment.get("PYTHONPATH")) if path)
        return environment

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_S
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        api = self._children[0].process
        assert api is not None
        while True:
            if (code := api.poll()) is not None:
                raise ConsoleStartError(f"the console's API ended with code {code} while starting; its words are above")
            try:
                with opener.open(f"{self.url}/healthz", timeout=2):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise ConsoleStartError(f"the console's API did not answer within {_START_S:g} s: {error}") from error
            time.sleep(0.05)

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            for child in self._children:
                if child.process is not None and (code := child.process.poll()) is not None:
                    self._bury(child, code)
                if child.process is None and time.monotonic() >= child.restart_at and not self._stopping.is_set():
                    self._spawn(child)

    def _bury(self, child: _Child, code: int) -> None:
        steady = time.monotonic() - child.started_at > _STEADY_S
        child.failures = 1 if steady else child.failures + 1
        pause_s = 0.0 if child.failures == 1 else min(_MAX_PAUSE_S, 0.25 * 2**child.failures)
        logger.warning("%s ended with code %d; started again in %g s", child.name, code, pause_s)
        child.restart_at = time.monotonic() + pause_s
        assert child.process is not None
        if child.process.stdin is not None:
            child.process.stdin.close()
        child.process = None
        if child.worker_id is not None and self._queue is not None:
            try:
                self._queue.release(child.worker_id)
            except Exception:  # its lease runs out anyway
                logger.exception("what %s had waits for its lease to end", child.name)


def _listen(host: str, port: int) -> socket.socket:
    info = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(info[0], info[1])
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(info[4])
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener


def _to_text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
