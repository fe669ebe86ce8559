"""A worker that dies or stands still: errors meanwhile, never another clip's answer, and the server comes back."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from serving import EmbeddedTriton
from tests.conftest import free_port_settings

BACK_WITHIN_S = 90.0


def encoder_worker(server: EmbeddedTriton) -> int:
    """Process id of the worker that runs the encoder."""
    for pid in server.pids():
        command = psutil.Process(pid).cmdline()
        if "stub" in command[0] and any("frame_encoder" in word for word in command):
            return pid
    raise AssertionError("the encoder has no worker")


def stand_still(pid: int) -> None:
    """Stops a process for longer than Triton's patience."""
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(3.5, lambda: os.kill(pid, signal.SIGCONT)).start()


@pytest.mark.parametrize("harm", [lambda pid: os.kill(pid, signal.SIGKILL), stand_still], ids=["killed", "stopped"])
def test_a_lost_worker_costs_errors_and_no_wrong_answer(repository: Path, harm: Callable[[int], None]) -> None:
    random = np.random.default_rng(0)
    # Of one length: a shape would give another clip's answer away, and hide what this test is about.
    clips = [random.integers(0, 150 + 50 * number, (4, 112, 112, 3), dtype=np.uint8) for number in range(3)]

    with EmbeddedTriton(free_port_settings(repository, profile="reference", drain_timeout_s=0)) as server:

        def ask(frames: NDArray[np.uint8]) -> float:
            request = triton_grpc.InferInput("FRAMES", frames.shape, "UINT8")
            request.set_data_from_numpy(frames)
            with triton_grpc.InferenceServerClient(server.grpc_url) as client:
                return float(client.infer("deepfake_detector", [request], client_timeout=30).as_numpy("CLIP_PROBABILITY")[0])

        expected = [ask(clip) for clip in clips]
        assert len({round(score, 5) for score in expected}) == 3
        harm(encoder_worker(server))
        failures = successes = number = 0
        end = time.monotonic() + BACK_WITHIN_S
        while successes < 6 and time.monotonic() < end:
            number += 1
            try:
                score = ask(clips[number % 3])
            except InferenceServerException:
                failures += 1
                successes = 0
                time.sleep(0.2)
                continue
            assert score == pytest.approx(expected[number % 3], abs=1e-5)
            successes += 1
        assert failures, "the worker was lost, and nothing was noticed"
        assert successes == 6, "the server did not come back"
