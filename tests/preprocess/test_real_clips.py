"""Real people, where real clips are at hand (see the ``media`` fixture)."""

from pathlib import Path

import numpy as np
import pytest

from preprocess import Extraction, ExtractionOptions, PreprocessError, Preprocessor

OPTIONS = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=60)


@pytest.fixture(scope="module")
def cases(media: Path, preprocessor: Preprocessor) -> dict[str, Extraction | PreprocessError]:
    """Every case by its file name."""
    paths = sorted((media / "cases").iterdir())
    return {path.name: result for path, result in preprocessor.extract_all(paths, OPTIONS)}


def done(result: Extraction | PreprocessError) -> Extraction:
    assert isinstance(result, Extraction), result
    return result


def test_speaker_is_one_track_over_the_whole_clip(cases: dict[str, Extraction | PreprocessError]) -> None:
    for name in ("talking_720p_20s.mp4", "talking_1080p_5s.mp4"):
        assert [len(clip) for clip in done(cases[name]).clips] == [60]


def test_crowd_and_two_heads(cases: dict[str, Extraction | PreprocessError]) -> None:
    assert 4 <= len(done(cases["crowd_1080p.mp4"]).clips) <= 8
    assert [len(clip) for clip in done(cases["two_heads_turning.gif"]).clips] == [56, 56]


def test_face_that_enters_and_leaves(cases: dict[str, Extraction | PreprocessError]) -> None:
    (clip,) = done(cases["face_enters_and_leaves_7s.mp4"]).clips
    # The file was put together from key frames at 2.0 s and 4.9 s.
    assert clip.timestamps_s[0] == pytest.approx(2.0, abs=0.2)
    assert clip.timestamps_s[-1] == pytest.approx(4.9, abs=0.2)


def test_nobody_is_nobody(cases: dict[str, Extraction | PreprocessError]) -> None:
    for name in ("no_person.mp4", "noface_5s.mp4", "cartoon_no_human.mp4", "room_distant_people_139s.mp4"):
        extraction = done(cases[name])
        assert extraction.clips == (), name
        assert len(extraction.dropped) == 60


def test_sideways_is_upright(cases: dict[str, Extraction | PreprocessError]) -> None:
    extraction = done(cases["portrait_rotation_metadata_s20.mp4"])
    assert (extraction.source.width_px, extraction.source.height_px, extraction.source.rotation_deg) == (480, 908, 90)
    assert [len(clip) for clip in extraction.clips] == [60]


def test_one_scene_in_three_containers(cases: dict[str, Extraction | PreprocessError]) -> None:
    boxes = []
    for name in ("help_h264.mov", "help_mpeg4.avi", "help_vp9.webm"):
        (clip,) = done(cases[name]).clips
        boxes.append(dict(zip(clip.frame_indices.tolist(), clip.boxes_px, strict=True)))
    common = set.intersection(*map(set, boxes))
    assert len(common) >= 54
    worst = [max(abs(a[index] - b[index]).max() for index in common) for a in boxes for b in boxes]
    assert np.max(worst) <= 3.0


def test_dark_and_tiny_and_cut_off(cases: dict[str, Extraction | PreprocessError]) -> None:
    assert len(done(cases["lowlight_noisy_crf38.mp4"]).clips) == 1
    tiny = done(cases["smallface_256w_crf40.mp4"])
    assert tiny.clips or {drop.reason for drop in tiny.dropped} <= {"face_too_small", "not_a_face", "no_face"}
    broken = cases["truncated_no_moov.mov"]
    assert isinstance(broken, PreprocessError)
    assert broken.code == "undecodable"


def test_real_people_have_one_dominant_track(media: Path, preprocessor: Preprocessor) -> None:
    # Fewer frames than the 60 of the documented figures, for the sake of time; gaps between them are harder to bridge.
    fewer = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=20)
    results = dict(preprocessor.extract_all(sorted((media / "real").iterdir()), fewer))
    lacking = [
        path.name
        for path, result in results.items()
        if not isinstance(result, Extraction)
        or not result.clips
        or len(result.clips[0]) < 0.9 * len(result.sampled_frame_indices)
        or any(len(clip) > 0.5 * len(result.clips[0]) for clip in result.clips[1:])
    ]
    assert len(lacking) <= 0.01 * len(results), lacking
