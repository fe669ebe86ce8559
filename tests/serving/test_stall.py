"""A worker that did not run for a while must not answer."""

import signal
import subprocess
import sys
import time

from serving.stall import EXIT_CODE, LIMIT_S, Sample
from tests.conftest import ROOT

WORKER = """
import sys, time
from serving.stall import StallWatch
stalls = StallWatch()
print("up", flush=True)
sys.stdin.readline()
stalls.end_if_stalled_since(time.monotonic() - 60)
print("answered", flush=True)
"""


def test_a_process_that_was_stopped_ends_and_says_how_long_it_stood_still() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        worker.send_signal(signal.SIGSTOP)
        time.sleep(2 * LIMIT_S)
        worker.send_signal(signal.SIGCONT)
        output, errors = worker.communicate("\n", timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == EXIT_CODE
    assert output == ""
    # The log relay knows the project's own lines by their beginning, and makes warnings of them.
    assert errors.startswith("unmask: this worker stood still for ")
    assert " s waiting for one, " in errors, "why is said, too"


def test_a_suspension_counts_although_the_monotonic_clock_stood_still_too() -> None:
    before = Sample(monotonic_s=50.0, wall_s=1000.0, processor_s=1.0, waited_s=0.0, disk_faults=0)
    assert before.gap_s(Sample(monotonic_s=50.02, wall_s=1060.0, processor_s=1.0, waited_s=0.0, disk_faults=0)) == 60.0
    # A clock that was set back makes Triton wait longer, which harms nobody.
    assert before.gap_s(Sample(monotonic_s=51.0, wall_s=940.0, processor_s=1.0, waited_s=0.0, disk_faults=0)) == 1.0
