"""Files through preprocessing and the real server to a verdict."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from client import ClientSettings, Detector
from client.detector import default_frames
from client.errors import InvalidFrames, Unreachable
from client.verdict import Verdict, verdict_schema
from preprocess import PreprocessError
from serving import EmbeddedTriton
from tests.client.made import INFO
from tests.clips import make_clips, write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    ramp = np.linspace(0, 255, 320, dtype=np.uint8)
    grey = [np.repeat(np.tile(np.roll(ramp, 9 * n), (240, 1))[:, :, None], 3, axis=2) for n in range(12)]
    empty = write_video(folder / "nothing.mp4", iter(grey))
    return {**make_clips(folder, ["one_face.mp4", "two_faces.mp4"]), "nothing.mp4": empty}


@pytest.fixture(scope="module")
def client(triton: EmbeddedTriton) -> Iterator[Detector]:
    with Detector(triton.grpc_url, deadline_s=240) as detector:
        yield detector


def test_a_face_gives_scores_and_an_untrained_model_no_claim(client: Detector, clips: dict[str, Path]) -> None:
    analysis = client.analyze(clips["one_face.mp4"], frames=6)
    verdict = analysis.verdict
    jsonschema.Draft202012Validator(verdict_schema()).validate(verdict.to_dict())
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    assert (verdict.label, verdict.reason) == ("NOT_EVALUATED", "untrained_model")
    assert verdict.score is not None
    assert verdict.preprocessing.frames_sampled == verdict.preprocessing.frames_requested == 6
    [track] = verdict.tracks
    assert track.frame_count == len(track.frames) == 6
    assert verdict.score == track.score
    assert verdict.source_sha256 == hashlib.sha256(clips["one_face.mp4"].read_bytes()).hexdigest()
    scores = client.infer_frames(analysis.extraction.clips[0].frames)
    assert [frame.score for frame in track.frames] == scores.frame_scores.tolist()


def test_stages_add_up_to_the_wall_time(client: Detector, clips: dict[str, Path]) -> None:
    client.detect(clips["one_face.mp4"], frames=6)
    stages = dict(client.detect(clips["one_face.mp4"], frames=6).stage_s)
    total = stages.pop("total")
    assert stages["server_compute"] > 0.0
    assert stages["server_queue"] > 0.0
    parts = sum(seconds for name, seconds in stages.items() if not name.startswith("server_"))
    assert parts <= total


def test_the_same_file_twice_gives_the_same_verdict(client: Detector, clips: dict[str, Path]) -> None:
    one, other = (replace(client.detect(clips["two_faces.mp4"], frames=5), created_at="", stage_s={}) for _ in range(2))
    assert one == other
    assert len(one.tracks) == 2


def test_nobody_in_the_picture(client: Detector, clips: dict[str, Path]) -> None:
    verdict = client.detect(clips["nothing.mp4"], frames=6)
    assert (verdict.label, verdict.reason, verdict.score, verdict.tracks) == ("NOT_EVALUATED", "no_face", None, ())
    assert len(verdict.dropped) == 6


def test_a_still_picture(client: Detector, clips: dict[str, Path], tmp_path: Path) -> None:
    import cv2

    _, crop = cv2.VideoCapture(str(clips["one_face.mp4"])).read()
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), crop)
    verdict = client.detect(path)
    assert verdict.source.kind == "image"
    assert verdict.tracks[0].frame_count == 1
    assert verdict.score is not None


def test_too_few_frames_are_not_judged(triton: EmbeddedTriton, clips: dict[str, Path]) -> None:
    with Detector(triton.grpc_url, deadline_s=240, settings=ClientSettings(min_frames=20)) as strict:
        verdict = strict.detect(clips["one_face.mp4"], frames=30)
        assert verdict.reason == "untrained_model"
        # Asked for fewer, fewer are enough.
        assert strict.detect(clips["one_face.mp4"], frames=3).reason == "untrained_model"
        extraction = strict.analyze(clips["one_face.mp4"], frames=3).extraction
        verdict = strict.detect_clips(extraction, frames_requested=30)
        assert (verdict.reason, verdict.score) == ("too_few_frames", None)


@pytest.mark.parametrize("frames", [0, 257])
def test_numbers_of_frames_that_no_request_can_have(client: Detector, clips: dict[str, Path], frames: int) -> None:
    with pytest.raises(InvalidFrames, match=f"frames is {frames}; deepfake_detector takes 1 to 256"):
        client.detect(clips["one_face.mp4"], frames=frames)


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"hello, this is text\n" * 50, "unsupported_media")])
def test_files_that_are_no_video(client: Detector, tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(PreprocessError) as caught:
        client.detect(path)
    assert caught.value.code == code


def test_without_a_server_nothing_is_decoded(clips: dict[str, Path]) -> None:
    with Detector("127.0.0.1:1", deadline_s=5) as client:
        with pytest.raises(Unreachable):
            client.detect(clips["one_face.mp4"])
        assert client._preprocessor is None


def test_default_number_of_frames() -> None:
    assert default_frames(replace(INFO, training_frames=()), 32) == 32
    assert default_frames(replace(INFO, training_frames=(10, 20, 40, 60)), 32) == 40
    assert default_frames(replace(INFO, training_frames=(400,)), 32) == INFO.max_frames


def test_crops_of_another_size_are_refused(client: Detector, clips: dict[str, Path]) -> None:
    extraction = client.analyze(clips["one_face.mp4"], frames=4).extraction
    small = replace(extraction.clips[0], frames=np.ascontiguousarray(extraction.clips[0].frames[:, ::2, ::2]))
    with pytest.raises(InvalidFrames, match=r"\(4, 56, 56, 3\)"):
        client.detect_clips(replace(extraction, clips=(small,)))
