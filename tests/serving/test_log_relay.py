"""What is made of Triton's log: what it logs where, and what an error message repeats of it."""

import io
import logging

import pytest

from serving.log_relay import LogRelay

CAUSE = "/repository/clip_head/1/model.onnx cannot be loaded: Model can't be parsed; build it again with `unmask export`"
AT = r"\n\nAt:\n  /somewhere/backends/openvino/model.py(21): initialize\n"
HEAD = "E1120 20:00:00.000001 4242 model_lifecycle.cc:654] "
# As Triton 2.60 wrote it of a graph that was cut off.
LOG = f"""I1120 20:00:00.000000 4242 server.cc:1] "starting"
{HEAD}"ERROR: Failed to create instance: BackendConfigError: {CAUSE}{AT}"
{HEAD}"failed to load 'clip_head' version 1: Internal: BackendConfigError: {CAUSE}{AT}"
{HEAD}"Invalid argument: ensemble 'deepfake_detector' depends on 'clip_head' which has no loaded version. Model 'clip_head' loading \
failed with error: version 1 is at UNAVAILABLE state: Internal: BackendConfigError: {CAUSE}{AT};"
"""


def test_one_cause_is_one_line() -> None:
    relay = LogRelay(io.StringIO(LOG))
    relay.run()
    assert relay.errors() == CAUSE


def test_errors_of_a_start_are_logged_once_it_succeeded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="unmask.triton")
    relay = LogRelay(io.StringIO(LOG))
    relay.run()
    assert caplog.records == [], "the message of a failed start has them"
    relay.release()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


def test_errors_of_a_running_server_are_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="unmask.triton")
    relay = LogRelay(io.StringIO(f'{HEAD}"out of luck"\n'))
    relay.release()
    relay.run()
    assert [record.getMessage() for record in caplog.records] == ["out of luck"]


def test_what_the_guard_and_the_workers_say_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="unmask.triton")
    relay = LogRelay(io.StringIO(f'{HEAD.replace("E1120", "I1120")}"busy"\nunmask: this worker stood still for 1.20 s\n'))
    relay.run()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "this worker stood still for 1.20 s")
    ]
