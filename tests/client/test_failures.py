"""Servers that are not there, go away, answer nonsense, or answer as no detector may: a typed error, within the deadline."""

import json
import re
import shutil
import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

from client import ClientSettings, Detector
from client.errors import (
    BadResponse,
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    Overloaded,
    Rejected,
    ServerFailed,
    Unreachable,
    from_server,
)
from serving import EmbeddedTriton
from serving.readiness import ADMIN_HEADER
from tests.client.conftest import url_of
from tests.client.misbehaving import INFO, write_model
from tests.client.peers import Behaviour, answers, drip, hang_up, http, peer, silent
from tests.conftest import free_port_settings

SMALL = np.zeros((2, 8, 8, 3), np.uint8)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("scheme", ["grpc", "http", "grpcs", "https"])
def test_nobody_listens(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{closed_port()}"
    with Detector(url, deadline_s=10) as client, pytest.raises(Unreachable, match=f"{re.escape(url)}.*unmask serve"):
        client.model()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_host_that_does_not_exist(scheme: str) -> None:
    with Detector(f"{scheme}://no-such-host.invalid:1", deadline_s=10) as client, pytest.raises(Unreachable):
        client.model()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("behaviour", [silent, drip])
def test_a_peer_that_never_finishes_costs_the_deadline_and_no_more(scheme: str, behaviour: Behaviour) -> None:
    # gRPC gives up at the first bytes that are not HTTP/2.
    expected = DeadlineExceeded if scheme == "http" else (DeadlineExceeded, Unreachable)
    with peer(behaviour) as port, Detector(f"{scheme}://127.0.0.1:{port}", deadline_s=0.5) as client:
        with pytest.raises(expected):
            client.model()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_peer_that_hangs_up(scheme: str) -> None:
    with peer(hang_up) as port, Detector(f"{scheme}://127.0.0.1:{port}", deadline_s=10) as client, pytest.raises(Unreachable):
        client.model()


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadResponse, "does not speak HTTP"),
        (http(b"<html>hello</html>"), BadResponse, "no JSON"),
        (http(b"[1, 2]"), BadResponse, "list where an object belongs"),
        (http(b"<html>gone</html>", status="404 Not Found"), BadResponse, "404"),
        (http(b'{"name"', length=1000), ConnectionLost, "broke off"),
        (http(b"x" * 70_000), BadResponse, "more than 65536 bytes.*UNMASK_CLIENT_MAX_RESPONSE_BYTES"),
        (http(b'{"error":"Exceeds maximum queue size"}', status="503 Service Unavailable"), Overloaded, "later"),
        (http(b"", status="502 Bad Gateway"), ServerFailed, "Bad Gateway"),
        (http(b'{"error": "no"}', status="400 Bad Request"), Rejected, "no .HTTP 400"),
    ],
)
def test_http_answers_that_make_no_sense(response: bytes, error: type[ClientError], message: str) -> None:
    settings = ClientSettings(max_response_bytes=65536)
    with peer(answers(response)) as port, Detector(f"http://127.0.0.1:{port}", deadline_s=10, settings=settings) as client:
        with pytest.raises(error, match=message):
            client.model()


@pytest.mark.parametrize(
    ("head", "tail", "message"),
    [
        ({"model_version": "1"}, b"", "unreadable inference header"),
        ({"model_version": "1", "outputs": [{"name": "CLIP_PROBABILITY"}]}, b"", "unreadable inference header"),
        ({"model_version": "1", "outputs": [("INT8", [1], 4)]}, b"1234", "as INT8"),
        ({"model_version": "1", "outputs": [("FP32", [3], 4)]}, b"1234", "12 bytes"),
        ({"model_version": "1", "outputs": [("FP32", [-1], 4)]}, b"1234", "not negative"),
        ({"model_version": "1", "outputs": [("FP32", [1], 4)]}, b"1", "1 bytes; that shape has 4"),
    ],
)
def test_http_answers_whose_bytes_contradict_their_header(head: dict[str, object], tail: bytes, message: str) -> None:
    from client.transport import Deadline

    outputs = head.get("outputs")
    if isinstance(outputs, list) and isinstance(outputs[0], tuple):
        datatype, shape, size = outputs[0]
        output = {"name": "X", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        head = {**head, "outputs": [output]}
    text = json.dumps(head).encode()
    response = http(text + tail, headers=f"Inference-Header-Content-Length: {len(text)}\r\n")
    with (
        peer(answers(response)) as port,
        Detector(f"http://127.0.0.1:{port}") as client,
        pytest.raises(BadResponse, match=message),
    ):
        client._transport.infer("x", SMALL, Deadline(10, client.url))


def test_an_http_header_length_outside_the_answer() -> None:
    from client.transport import Deadline

    response = http(b"{}", headers="Inference-Header-Content-Length: 99\r\n")
    with (
        peer(answers(response)) as port,
        Detector(f"http://127.0.0.1:{port}") as client,
        pytest.raises(BadResponse, match="'99'"),
    ):
        client._transport.infer("x", SMALL, Deadline(10, client.url))


def test_the_wrong_port(triton: EmbeddedTriton) -> None:
    swapped = {"grpc://" + triton.http_url.removeprefix("http://"): Unreachable, f"http://{triton.grpc_url}": ClientError}
    for url, error in swapped.items():
        with Detector(url, deadline_s=10) as client, pytest.raises(error):
            client.model()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan_clip", "CLIP_PROBABILITY with nan; every value must be finite"),
        ("nan_frame", "FRAME_PROBABILITIES with nan"),
        ("infinite_logit", "FRAME_LOGITS with inf"),
        ("above_one", r"CLIP_PROBABILITY in \[1.5, 1.5\]; it must be in \[0, 1\]"),
        ("one_frame_short", r"FRAME_PROBABILITIES with shape \(1,\); for 2 frames it is \(2,\)"),
    ],
)
def test_outputs_that_no_detector_may_give(bad_triton: EmbeddedTriton, protocol: str, name: str, message: str) -> None:
    with Detector(url_of(bad_triton, protocol), detector=name) as client, pytest.raises(BadResponse, match=message):
        client.infer_frames(SMALL)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan_threshold", "threshold='nan'"),
        ("no_metadata", "lack detector, semantics.*unmask export"),
        ("crossed_band", r"abstain_low 0.9, threshold 0.5.*within \[0, 1\]"),
    ],
)
def test_metadata_that_cannot_be_used(bad_triton: EmbeddedTriton, protocol: str, name: str, message: str) -> None:
    with Detector(url_of(bad_triton, protocol), detector=name) as client, pytest.raises(BadResponse, match=message):
        client.infer_frames(SMALL)


def test_a_model_that_fails_and_the_next_request(bad_triton: EmbeddedTriton, protocol: str) -> None:
    url = url_of(bad_triton, protocol)
    with Detector(url, detector="failing") as client, pytest.raises(ServerFailed, match="this model always fails"):
        client.infer_frames(SMALL)
    with Detector(url, detector="sane") as client:
        assert client.infer_frames(SMALL).score == 0.25


def test_a_slow_model_meets_the_deadline_and_the_connection_is_not_reused(bad_triton: EmbeddedTriton, protocol: str) -> None:
    with Detector(url_of(bad_triton, protocol), detector="slow", deadline_s=0.4) as client:
        client.model()
        with pytest.raises(DeadlineExceeded, match=r"0\.4 s"):
            client.infer_frames(SMALL)
        client.deadline_s = 30.0
        # A late answer to the first request must not be taken for the second's.
        assert client.infer_frames(SMALL[:1]).frame_scores.shape == (1,)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("in ensemble 'd', [request id: 7] Exceeds maximum queue size", Overloaded),
        ("Request timeout expired", Overloaded),
        ("Server is stopping, scheduler for model has stopped accepting new inference requests", Overloaded),
    ],
)
def test_tritons_words_for_being_busy(message: str, error: type[ClientError]) -> None:
    assert type(from_server("host:1", "d", message, unavailable=True, failed=False)) is error


@pytest.fixture
def small_repository(tmp_path: Path) -> Path:
    write_model(tmp_path / "models", "sane", "")
    write_model(tmp_path / "models", "slow", "time.sleep(20)")
    return tmp_path / "models"


def test_a_server_killed_in_mid_request_and_one_that_comes_back(small_repository: Path) -> None:
    settings = free_port_settings(small_repository, profile="reference")
    with EmbeddedTriton(settings) as server:
        grpc_url, http_url = server.grpc_url, server.http_url
        clients = [Detector(url, detector="slow", deadline_s=15) for url in (grpc_url, http_url)]
        errors: list[BaseException] = []
        threads = [threading.Thread(target=_collect, args=(client, errors)) for client in clients]
        for client in clients:
            client.model()
        for thread in threads:
            thread.start()
        _wait_until_busy(server, "slow")
        next(process for process in map(psutil.Process, server.pids()) if process.name() == "tritonserver").kill()
        for thread in threads:
            thread.join(timeout=14)
        assert [type(error) for error in errors] == [ConnectionLost, ConnectionLost]
        for client in clients:
            client.detector = "sane"
            with pytest.raises(Unreachable):
                client.model()
    again = settings.model_copy(
        update={"grpc_port": int(grpc_url.rsplit(":", 1)[1]), "http_port": int(http_url.rsplit(":", 1)[1])}
    )
    with EmbeddedTriton(again):
        for client in clients:
            with client, Detector(client.url, detector="sane") as fresh:
                assert fresh.infer_frames(SMALL).score == 0.25
                assert client.model().info.detector == "slow"


def _collect(client: Detector, errors: list[BaseException]) -> None:
    try:
        client.infer_frames(SMALL)
    except ClientError as error:
        errors.append(error)


def _wait_until_busy(server: EmbeddedTriton, model: str) -> None:
    """Until the model's pending requests are in execution: both wires' requests have arrived."""
    url = f"{server.metrics_url}"
    for _ in range(200):
        with urllib.request.urlopen(url, timeout=5) as response:
            text = response.read().decode()
        pending = re.search(rf'nv_inference_pending_request_count{{model="{model}",version="1"}} (\d+)', text)
        if pending and int(pending[1]) >= 1:
            return
        time.sleep(0.02)
    raise AssertionError(f"no request is pending on {model}:\n{text}")


def test_a_new_version_is_noticed_by_its_answer(small_repository: Path, protocol: str) -> None:
    with EmbeddedTriton(free_port_settings(small_repository, profile="reference")) as server:
        client = Detector(url_of(server, protocol), detector="sane")
        with client:
            assert client.infer_frames(SMALL).model.version == "1"
            (small_repository / "sane" / "config.pbtxt").unlink()
            write_model(
                small_repository,
                "sane",
                "clip[0] = 0.75",
                version=2,
                parameters={**INFO.to_parameters(), "threshold": "0.55", "precision": "int8"},
            )
            _reload(server, "sane")
            scores = client.infer_frames(SMALL)
            assert scores.score == 0.75
            assert (scores.model.version, scores.model.info.threshold, scores.model.precision) == ("2", 0.55, "int8")


def test_facts_grow_old(small_repository: Path, protocol: str) -> None:
    settings = ClientSettings(metadata_max_age_s=0.05)
    with EmbeddedTriton(free_port_settings(small_repository, profile="reference")) as server:
        client = Detector(url_of(server, protocol), detector="sane", settings=settings)
        with client:
            assert client.model().info.threshold == 0.5
            shutil.rmtree(small_repository / "sane")
            write_model(small_repository, "sane", "", parameters={**INFO.to_parameters(), "threshold": "0.45"})
            _reload(server, "sane")
            time.sleep(0.1)
            assert client.model().info.threshold == 0.45


def _reload(server: EmbeddedTriton, model: str) -> None:
    request = urllib.request.Request(f"{server.http_url}/v2/repository/models/{model}/load", data=b"{}", method="POST")
    request.add_header(ADMIN_HEADER, server.admin_key)
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200
