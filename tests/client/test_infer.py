"""Clips through the real ensemble, over both wires."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from client import Detector
from client.errors import DeadlineExceeded, DetectorNotFound, InvalidFrames, Rejected
from client.transport import Deadline
from serving import EmbeddedTriton
from tests.client.conftest import PATIENCE_S, url_of

Frames = NDArray[np.uint8]


def test_reads_the_models_facts(detector: Detector) -> None:
    model = detector.model()
    assert model.info.detector == "deepfake_detector"
    assert model.info.trained is False
    assert model.info.max_frames == 256
    assert (model.version, model.profile, model.precision) == ("1", "reference", "fp32")


@pytest.mark.parametrize("count", [1, 2, 256])
def test_scores_clips_of_any_length(detector: Detector, frames: Frames, count: int) -> None:
    scores = detector.infer_frames(frames[:count])
    assert scores.frame_scores.shape == (count,)
    assert scores.frame_logits.shape == (count, 2)
    assert 0.0 <= scores.score <= 1.0
    exponent = np.exp(scores.frame_logits.astype(np.float64))
    assert np.allclose(scores.frame_scores, exponent[:, 1] / exponent.sum(axis=1), atol=1e-5)


def test_both_wires_give_the_same_bits(triton: EmbeddedTriton, frames: Frames) -> None:
    with Detector(triton.grpc_url, deadline_s=PATIENCE_S) as grpc, Detector(triton.http_url, deadline_s=PATIENCE_S) as http:
        one, other = grpc.infer_frames(frames[:6]), http.infer_frames(frames[:6])
    assert one.score == other.score
    assert np.array_equal(one.frame_logits, other.frame_logits)


def test_same_clip_twice_gives_the_same_bits(detector: Detector, frames: Frames) -> None:
    first, second = detector.infer_frames(frames[:6]), detector.infer_frames(frames[:6])
    assert first.score == second.score
    assert np.array_equal(first.frame_scores, second.frame_scores)


def test_order_of_frames_matters(detector: Detector, frames: Frames) -> None:
    clip = frames[::32]
    assert abs(detector.infer_frames(clip).score - detector.infer_frames(clip[::-1]).score) > 1e-4


def test_frames_that_are_not_contiguous_are_sent_right(detector: Detector, frames: Frames) -> None:
    view = frames[:8:2, :, ::-1]
    assert not view.flags.c_contiguous
    assert detector.infer_frames(view).score == detector.infer_frames(np.ascontiguousarray(view)).score


def test_one_detector_serves_many_threads(detector: Detector, frames: Frames) -> None:
    clips = [frames[start : start + 1 + start % 3] for start in range(12)]
    alone = [detector.infer_frames(clip).score for clip in clips]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda clip: detector.infer_frames(clip).score, clips))
    # The server merges what is in flight into other batches: the last bits may differ, no more.
    assert np.allclose(alone, together, rtol=0, atol=1e-5)


def settled_requests(detector: Detector) -> int:
    """Requests that the server has counted, once the number stays: it counts a moment after it has answered, as it has time."""
    seen: list[int] = []
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        seen.append(detector._statistics()["deepfake_detector"].successes)
        time.sleep(0.05)
    return seen[-1]


def test_wrong_frames_are_refused_before_they_are_sent(detector: Detector) -> None:
    before = settled_requests(detector)
    for wrong, message in (
        (np.zeros((0, 112, 112, 3), np.uint8), r"0 frames; deepfake_detector takes 1 to 256"),
        (np.zeros((257, 112, 112, 3), np.uint8), r"257 frames; deepfake_detector takes 1 to 256"),
        (np.zeros((2, 112, 100, 3), np.uint8), r"\(2, 112, 100, 3\).*\(T, 112, 112, 3\) RGB"),
        (np.zeros((2, 3, 112, 112), np.uint8), r"\(2, 3, 112, 112\).*\(T, 112, 112, 3\) RGB"),
        (np.zeros((112, 112, 3), np.uint8), r"\(112, 112, 3\).*\(T, 112, 112, 3\) RGB"),
        (np.zeros((2, 112, 112, 3), np.float32), r"float32.*takes a uint8 array"),
        ([[0]], r"list.*takes a uint8 array"),
    ):
        with pytest.raises(InvalidFrames, match=message):
            detector.infer_frames(wrong)  # type: ignore[arg-type]
    assert settled_requests(detector) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((0, 112, 112, 3), np.uint8), "byte size mismatch"),
        (np.zeros((257, 112, 112, 3), np.uint8), "batch-size must be <= 256"),
        (np.zeros((2, 112, 100, 3), np.uint8), "unexpected shape"),
        (np.zeros((2, 112, 112, 3), np.float32), "data-type is 'FP32'"),
    ],
)
def test_the_server_refuses_them_too_and_goes_on(detector: Detector, frames: Frames, wrong: Frames, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        detector._transport.infer("deepfake_detector", wrong, Deadline(30, detector.url))
    assert detector.infer_frames(frames[:1]).frame_scores.shape == (1,)


def test_a_detector_that_is_not_there(triton: EmbeddedTriton, protocol: str) -> None:
    absent = Detector(url_of(triton, protocol), detector="no/such detector")
    with absent, pytest.raises(DetectorNotFound, match=r"'no/such detector'.*--detector"):
        absent.model()


def test_the_deadline_is_the_clients(triton: EmbeddedTriton, protocol: str, frames: Frames) -> None:
    with Detector(url_of(triton, protocol)) as client:
        client.model()
        client.deadline_s = 0.005
        with pytest.raises(DeadlineExceeded, match=re.escape("within the deadline of 0.005 s") + ".*--deadline"):
            client.infer_frames(frames[:16])
        client.deadline_s = PATIENCE_S
        assert client.infer_frames(frames[:1]).frame_scores.shape == (1,)
