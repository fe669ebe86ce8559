"""Stands between the launcher and Triton, so that nothing is left behind however the launcher ends.

Run as ``python -m serving.guard --shm-prefix P --grace-s N --run-dir D -- COMMAND...`` with a pipe as standard input: the
launcher holds its other end, and its closing (a stop, a crash, kill -9 alike) makes the guard stop the server: SIGTERM, which
drains, then SIGKILL after the grace. As a child subreaper (prctl(2)) it inherits the Python backend's workers when Triton
is killed, ends them, and removes the shared-memory segments and the run directory. If the guard itself is killed, the kernel sends
Triton SIGTERM (PR_SET_PDEATHSIG) and Triton cleans up after itself.

Only the standard library: this process must start in milliseconds.
"""

import argparse
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def end_children(grace_s: float = 2.0) -> None:
    """Ends every child that is left: SIGTERM, then SIGKILL, and reaps them."""
    deadline = time.monotonic() + grace_s
    while children := _children():
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in children:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
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


def supervise(command: list[str], *, shm_prefix: str, grace_s: float, run_dir: Path) -> int:
    """Runs the server until it ends or the launcher does; returns the server's exit code."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stop_read, stop_write = os.pipe()
    # A signal to the guard means the same as a closed pipe. The handler only wakes the loop below.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(stop_write, b"x"))
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)
    try:
        exit_fd = os.pidfd_open(server.pid)
        readable, _, _ = select.select([sys.stdin.fileno(), stop_read, exit_fd], [], [])
        if exit_fd not in readable:
            server.terminate()
            try:
                server.wait(timeout=grace_s)
            except subprocess.TimeoutExpired:
                server.kill()
        return server.wait()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        end_children()
        remove_segments(shm_prefix)
        shutil.rmtree(run_dir, ignore_errors=True)


def main() -> None:
    """Entry point of ``python -m serving.guard``."""
    parser = argparse.ArgumentParser(prog="python -m serving.guard")
    parser.add_argument("--shm-prefix", required=True)
    parser.add_argument("--grace-s", type=float, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    code = supervise(arguments.command, shm_prefix=arguments.shm_prefix, grace_s=arguments.grace_s, run_dir=arguments.run_dir)
    # A server ended by a signal has a negative code; shells write that as 128 + number.
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
