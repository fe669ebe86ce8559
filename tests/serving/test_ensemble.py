"""The served ensemble through raw Triton requests: what any client of any language sees."""

import threading
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from serving import EmbeddedTriton

DETECTOR = "deepfake_detector"
OUTPUTS = ("CLIP_PROBABILITY", "FRAME_PROBABILITIES", "FRAME_LOGITS")
Frames = NDArray[np.uint8]
Result = dict[str, NDArray[np.float32]]


def infer(client: triton_grpc.InferenceServerClient, frames: NDArray[np.generic], data_type: str = "UINT8") -> Result:
    """One request for all outputs."""
    request = triton_grpc.InferInput("FRAMES", frames.shape, data_type)
    request.set_data_from_numpy(frames)
    response = client.infer(DETECTOR, [request], client_timeout=120)
    return {name: response.as_numpy(name) for name in OUTPUTS}


def random_frames(count: int, seed: int = 0) -> Frames:
    """Seeded noise (count, 112, 112, 3), with a different brightness each frame so that their order matters."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 128, (count, 112, 112, 3), dtype=np.uint8)
    return noise + np.linspace(0, 127, count, dtype=np.uint8)[:, None, None, None]


@pytest.fixture(scope="module")
def client(triton: EmbeddedTriton) -> Iterator[triton_grpc.InferenceServerClient]:
    with triton_grpc.InferenceServerClient(triton.grpc_url) as connection:
        yield connection


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 60, 256])
def test_every_length_gives_one_score_a_frame(client: triton_grpc.InferenceServerClient, count: int) -> None:
    result = infer(client, random_frames(count))
    assert result["CLIP_PROBABILITY"].shape == (1,)
    assert result["FRAME_PROBABILITIES"].shape == (count,)
    assert result["FRAME_LOGITS"].shape == (count, 2)
    softmax = 1 / (1 + np.exp(result["FRAME_LOGITS"][:, 0] - result["FRAME_LOGITS"][:, 1]))
    np.testing.assert_allclose(result["FRAME_PROBABILITIES"], softmax, atol=1e-5)


def test_scores_are_those_of_the_graphs_run_bare(client: triton_grpc.InferenceServerClient, triton: EmbeddedTriton) -> None:
    frames = random_frames(20)
    repository = triton.settings.model_repository
    encoder = ort.InferenceSession(repository / "frame_encoder" / "1" / "model.onnx")
    head = ort.InferenceSession(repository / "clip_head" / "1" / "model.onnx")
    (logits,) = head.run(["FRAME_LOGITS"], {"FEATURES": encoder.run(["FEATURES"], {"FRAMES": frames})[0]})
    np.testing.assert_allclose(infer(client, frames)["FRAME_LOGITS"], logits, atol=1e-4)


def test_permuting_frames_changes_the_score(client: triton_grpc.InferenceServerClient) -> None:
    frames = random_frames(16)
    forward, backward = infer(client, frames), infer(client, np.ascontiguousarray(frames[::-1]))
    assert abs(forward["CLIP_PROBABILITY"][0] - backward["CLIP_PROBABILITY"][0]) > 1e-4


def test_the_same_clip_twice_is_bit_identical(client: triton_grpc.InferenceServerClient) -> None:
    frames = random_frames(37)
    first, second = infer(client, frames), infer(client, frames)
    for name in OUTPUTS:
        assert first[name].tobytes() == second[name].tobytes()


def test_the_score_does_not_depend_on_what_else_is_in_flight(client: triton_grpc.InferenceServerClient) -> None:
    frames = random_frames(33)
    alone = infer(client, frames)
    stop = threading.Event()

    def crowd(seed: int) -> None:
        while not stop.is_set():
            infer(client, random_frames(5 + seed, seed))

    threads = [threading.Thread(target=crowd, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        crowded = [infer(client, frames) for _ in range(5)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for result in crowded:
        for name in OUTPUTS:
            np.testing.assert_allclose(result[name], alone[name], atol=1e-5)


def test_http_gives_what_grpc_gives(client: triton_grpc.InferenceServerClient, triton: EmbeddedTriton) -> None:
    frames = random_frames(9)
    with triton_http.InferenceServerClient(triton.http_url.removeprefix("http://")) as http:
        request = triton_http.InferInput("FRAMES", frames.shape, "UINT8")
        request.set_data_from_numpy(frames)
        outputs = [triton_http.InferRequestedOutput(name) for name in OUTPUTS]
        response = http.infer(DETECTOR, [request], outputs=outputs)
        for name, value in infer(client, frames).items():
            assert response.as_numpy(name).tobytes() == value.tobytes()


@pytest.mark.parametrize(
    ("frames", "data_type", "message"),
    [
        (np.zeros((257, 112, 112, 3), np.uint8), "UINT8", "256"),
        (np.zeros((4, 96, 112, 3), np.uint8), "UINT8", "shape"),
        (np.zeros((4, 112, 112, 4), np.uint8), "UINT8", "shape"),
        (np.zeros((4, 112, 112, 3), np.float32), "FP32", "TYPE_UINT8|UINT8"),
        (np.zeros((0, 112, 112, 3), np.uint8), "UINT8", "."),
    ],
    ids=["T=257", "height", "channels", "dtype", "T=0"],
)
def test_wrong_tensors_are_refused_and_the_next_request_is_served(
    client: triton_grpc.InferenceServerClient, frames: NDArray[np.generic], data_type: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        infer(client, frames, data_type)
    assert np.isfinite(infer(client, random_frames(3))["CLIP_PROBABILITY"]).all()


def test_the_cpu_profile_agrees_with_the_reference(
    client: triton_grpc.InferenceServerClient, triton_cpu: EmbeddedTriton
) -> None:
    frames = random_frames(40)
    with triton_grpc.InferenceServerClient(triton_cpu.grpc_url) as fast:
        optimised, reference = infer(fast, frames), infer(client, frames)
    # bf16 keeps eight bits of mantissa; the untrained head's logits span about 10.
    np.testing.assert_allclose(optimised["FRAME_LOGITS"], reference["FRAME_LOGITS"], atol=0.1)
    np.testing.assert_allclose(optimised["CLIP_PROBABILITY"], reference["CLIP_PROBABILITY"], atol=0.01)
