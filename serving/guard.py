"""Stands between the launcher and Triton, so that nothing is left behind however the launcher ends.

Run as ``python -m serving.guard --shm-prefix P --drain-s N --http-url U --run-dir D --repository R [--explainer] -- COMMAND...`` with a
pipe as standard input: the launcher holds its other end, and its closing (a stop, a crash, kill -9 alike) makes the guard stop the
server: it drains it, then ends it. A byte on the pipe says that the server is ready. As a child subreaper (prctl(2)) the guard
inherits the Python backend's workers when Triton is killed, ends them, and removes the shared-memory segments and the run directory. If
the guard itself is killed, the kernel sends Triton SIGTERM (PR_SET_PDEATHSIG) and Triton cleans up after itself. A worker that dies
makes the guard start the server anew (Triton itself would go on, call itself ready and fail every request), and so does a crash of
Triton.

Only the standard library: this process must start in milliseconds.
"""

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from serving.repository import models_to_load

KILL_AFTER_S = 5.0
"""How long a server may take to end after its requests had their time."""
ADMIN_KEY_VARIABLE = "UNMASK_SERVING_ADMIN_KEY"
WORKER_CHECK_S = 1.0
"""Looking through the threads of Triton costs 10 ms."""
LOST_AFTER_S = 3.0
"""A worker that Triton itself unloads is a zombie for a moment, too, and on a busy machine for a second or more."""
MAKES_FOLDERS_WITHIN_S = 20.0
"""From its start until Triton's Python backend is loaded, on a busy machine."""
RESTARTS = 3
RESTARTS_WITHIN_S = 60.0
"""A server that loses workers more often than this is broken, and restarting would hide it."""
CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""How a server ends that did not mean to. A lost worker brings Triton 2.51 itself down now and then, before its loss was noticed."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_guard() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _children() -> list[int]:
    """Direct children, the re-parented workers included."""
    me = os.getpid()
    text = Path(f"/proc/{me}/task/{me}/children").read_text()
    return [int(pid) for pid in text.split()]


def end_children() -> None:
    """Kills every child that is left, and reaps it.

    Triton's workers ignore SIGTERM, and one that finds Triton gone by itself crashes on its way out.
    """
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        _reap()


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def remove_segments(prefix: str) -> None:
    """Removes the shared-memory segments of one server."""
    for segment in Path("/dev/shm").glob(f"{prefix}*"):
        segment.unlink(missing_ok=True)


def remove_environment_folders(started_s: float) -> None:
    """Removes the empty folder that Triton's Python backend makes in /tmp at each start, and leaves there when a signal ends it.

    Its name does not tell its maker, so the time does. What another server of this user made in those seconds would go, too, if it
    is empty; such a folder is in use only where a model brings a packed environment, and then it is not empty.
    """
    for folder in Path("/tmp").glob("python_env_*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and 0 <= folder.stat().st_mtime - started_s <= MAKES_FOLDERS_WITHIN_S:
                folder.rmdir()


def ended_workers(server_pid: int) -> set[int]:
    """Workers of the Python backend that ended and that Triton did not wait for: zombies.

    Where it never does, it calls itself ready and answers every request with an error, for ever.
    """
    ended = set()
    for task in Path(f"/proc/{server_pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        for child in children:
            try:
                state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state == "Z":
                ended.add(int(child))
    return ended


class WorkerWatch:
    """Tells workers that Triton lost from those that it is about to wait for."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._seen: dict[int, float] = {}

    def lost(self) -> bool:
        """True when a worker ended at least ``LOST_AFTER_S`` before, as far as these calls saw."""
        now = time.monotonic()
        self._seen = {pid: self._seen.get(pid, now) for pid in ended_workers(self._server_pid)}
        return any(now - first >= LOST_AFTER_S for first in self._seen.values())


class Orders:
    """What the launcher says through the guard's standard input: a byte once the server is ready, and its closing to stop.

    A signal to the guard means the same as the closing.
    """

    def __init__(self) -> None:
        self.ready = False
        self.start_s = 0.0
        """How long the first start took."""
        self._begun_s = time.monotonic()
        self._signalled, self._wake = os.pipe()
        self._input = sys.stdin.fileno()
        self.fds = [self._input, self._signalled]
        for number in (signal.SIGTERM, signal.SIGINT):
            # The handler only wakes the loop.
            signal.signal(number, lambda *_: os.write(self._wake, b"x"))

    def read(self, readable: list[int]) -> bool:
        """Takes in what came; true when the server is to stop."""
        if self._signalled in readable:
            return True
        if self._input in readable:
            if not os.read(self._input, 64):
                return True
            self.ready, self.start_s = True, time.monotonic() - self._begun_s
        return False


def run_once(
    command: Sequence[str], orders: Orders, *, drain_s: float, http_url: str
) -> tuple[Literal["stopped", "lost", "ended"], int]:
    """Runs the server until a stop is asked for, it loses a worker or crashes, or it ends by itself; why, and its exit code.

    Before it was ready once nothing counts as lost: a server that cannot load a model ends, at times with a crash.
    """
    started_s = time.time()
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)
    workers = WorkerWatch(server.pid)
    exit_fd = -1
    try:
        exit_fd = os.pidfd_open(server.pid)
        while True:
            readable, _, _ = select.select([*orders.fds, exit_fd], [], [], WORKER_CHECK_S)
            stop = orders.read(readable)
            if exit_fd in readable:
                code = server.wait()
                return ("lost" if -code in CRASHES and orders.ready and not stop else "ended"), code
            if stop:
                _stop(server, workers, ready=orders.ready, drain_s=drain_s, http_url=http_url)
                return "stopped", 0
            if orders.ready and workers.lost():
                return "lost", 1
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        if exit_fd >= 0:
            os.close(exit_fd)
        end_children()
        remove_environment_folders(started_s)


def _stop(server: "subprocess.Popen[bytes]", workers: WorkerWatch, *, ready: bool, drain_s: float, http_url: str) -> None:
    from serving.readiness import drain  # urllib costs the start of every server 30 ms

    key = os.environ.get(ADMIN_KEY_VARIABLE, "")
    deadline = time.monotonic() + drain_s
    # Before it was ready it has nothing in flight, and would load its models to the end. Once drained there is nothing that a slow end
    # would save, and Triton's own takes two to three seconds. With a worker lost it would wait, to the end of its patience, for answers
    # that nobody can give any more.
    if not ready or drain_s == 0 or drain(http_url, drain_s, key, hopeless=workers.lost) or workers.lost():
        server.kill()
        return
    server.terminate()
    try:
        server.wait(timeout=max(0.0, deadline - time.monotonic()) + KILL_AFTER_S)
    except subprocess.TimeoutExpired:
        server.kill()


def supervise(
    command: list[str], *, shm_prefix: str, drain_s: float, http_url: str, run_dir: Path, repository: Path, explainer: bool
) -> int:
    """Runs the server, anew where it lost a worker, until it ends or the launcher does.

    Each start loads what the repository holds then: detectors come and go while a server runs.

    Returns:
        The server's exit code; 0 where it was stopped. Where it lost workers or crashed more often than ``RESTARTS`` within
        ``RESTARTS_WITHIN_S`` and the time that so many starts take: 1, or the signal of the last crash.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    orders = Orders()
    losses: list[float] = []
    try:
        while True:
            models = [f"--load-model={model}" for model in models_to_load(repository, explainer=explainer)]
            why, code = run_once([*command, *models], orders, drain_s=drain_s, http_url=http_url)
            remove_segments(shm_prefix)
            if why != "lost":
                return code
            # A server that takes a minute to start and is lost at its first request is as broken as a quick one.
            within_s = RESTARTS_WITHIN_S + RESTARTS * orders.start_s
            losses = [moment for moment in losses if time.monotonic() - moment < within_s] + [time.monotonic()]
            if len(losses) > RESTARTS:
                sys.stderr.write(f"unmask: {_what_happened(code)} {len(losses)} times within {within_s:.0f} s: giving up\n")
                return code
            sys.stderr.write(f"unmask: {_what_happened(code)}: starting Triton anew\n")
            sys.stderr.flush()
    finally:
        remove_segments(shm_prefix)
        shutil.rmtree(run_dir, ignore_errors=True)


def _what_happened(code: int) -> str:
    return f"Triton crashed ({signal.Signals(-code).name})" if code < 0 else "a worker of the Python backend was lost"


def main() -> None:
    """Entry point of ``python -m serving.guard``."""
    parser = argparse.ArgumentParser(prog="python -m serving.guard")
    parser.add_argument("--shm-prefix", required=True)
    parser.add_argument("--drain-s", type=float, required=True)
    parser.add_argument("--http-url", required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--explainer", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    code = supervise(
        arguments.command,
        shm_prefix=arguments.shm_prefix,
        drain_s=arguments.drain_s,
        http_url=arguments.http_url,
        run_dir=arguments.run_dir,
        repository=arguments.repository,
        explainer=arguments.explainer,
    )
    # A server ended by a signal has a negative code; shells write that as 128 + number.
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
