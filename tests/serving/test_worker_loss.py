"""A worker dies or stands still, or Triton crashes: errors meanwhile, never another clip's answer, and the server comes back."""

import contextlib
import http.client
import os
import shutil
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
from serving.readiness import loaded_models
from tests.conftest import free_port_settings

BACK_WITHIN_S = 180.0


def process_of(server: EmbeddedTriton, program: str, word: str = "") -> int:
    """Process id of the server's process that runs ``program`` with ``word`` on its command line."""
    for pid in server.pids():
        command = psutil.Process(pid).cmdline()
        if command[0].endswith(program) and any(word in argument for argument in command):
            return pid
    raise AssertionError(f"no process of the server runs {program} {word}")


def kill_the_encoder(server: EmbeddedTriton) -> None:
    """Ends the encoder's worker."""
    os.kill(process_of(server, "stub", "frame_encoder"), signal.SIGKILL)


def stop_the_encoder_for_a_while(server: EmbeddedTriton) -> None:
    """Stops the encoder's worker for longer than Triton's patience."""
    pid = process_of(server, "stub", "frame_encoder")
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(3.5, lambda: os.kill(pid, signal.SIGCONT)).start()


def crash_triton(server: EmbeddedTriton) -> None:
    """Ends Triton as a wild pointer would; it does so by itself now and then after a worker stood still."""
    os.kill(process_of(server, "bin/tritonserver"), signal.SIGSEGV)


@pytest.mark.parametrize("harm", [kill_the_encoder, stop_the_encoder_for_a_while, crash_triton])
def test_a_lost_worker_costs_errors_and_no_wrong_answer(
    repository: Path, harm: Callable[[EmbeddedTriton], None], caplog: pytest.LogCaptureFixture
) -> None:
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
        harm(server)
        failures = successes = number = 0
        end = time.monotonic() + BACK_WITHIN_S
        # The harm may take a moment to show.
        while (successes < 6 or not failures) and time.monotonic() < end:
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
        assert successes >= 6, "the server did not come back"
    assert any(record.levelname == "WARNING" and "starting Triton anew" in record.message for record in caplog.records)


def test_a_server_that_is_started_anew_loads_what_the_repository_holds_then(repository: Path, tmp_path: Path) -> None:
    changing = tmp_path / "repository"
    shutil.copytree(repository, changing, copy_function=os.link, ignore=shutil.ignore_patterns(".built"))
    with EmbeddedTriton(free_port_settings(changing, profile="reference", explainer=False, drain_timeout_s=0)) as server:
        # As exports to a running server do: one detector comes, another one goes.
        came = shutil.copytree(changing / "deepfake_detector", changing / "came_later")
        config = came / "config.pbtxt"
        config.write_text(config.read_text().replace('"deepfake_detector"', '"came_later"'))
        shutil.rmtree(changing / "deepfake_detector")
        before = process_of(server, "bin/tritonserver")
        crash_triton(server)
        end = time.monotonic() + BACK_WITHIN_S
        states: dict[str, str] = {}
        while states.get("came_later") != "READY" and time.monotonic() < end and server.alive():
            with contextlib.suppress(OSError, http.client.HTTPException):
                states = loaded_models(server.http_url, server.admin_key)
            time.sleep(0.2)
        loaded = {name: state for name, state in states.items() if state}
        assert loaded == {"came_later": "READY", "clip_head": "READY", "frame_encoder": "READY"}
        assert process_of(server, "bin/tritonserver") != before
