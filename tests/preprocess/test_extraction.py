"""From files to clips of faces."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess import REASONS, Extraction, ExtractionOptions, Preprocessor, PreprocessSettings, extract
from preprocess.boxes import Box, iou
from preprocess.errors import OptionError
from tests.clips import CLIPS, astronaut

ONE_FACE = [name for name in CLIPS if name.startswith(("one_face", "ten_bit", "grey", "odd_size", "variable_rate", "sideways"))]


@pytest.mark.parametrize("name", ONE_FACE)
def test_one_face_is_one_clip_over_the_whole_file(
    clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions, name: str
) -> None:
    extraction = preprocessor.extract(clips[name], options)
    assert len(extraction.clips) == 1
    clip = extraction.clips[0]
    assert clip.frames.shape[1:] == (112, 112, 3)
    assert len(clip) == len(extraction.sampled_frame_indices)
    assert clip.detector_scores.min() > 0.8
    assert extraction.dropped == ()
    # The face is in the upper middle in each of these; a frame that came out sideways would have it elsewhere.
    centre = clip.boxes_px.reshape(-1, 2, 2).mean(axis=1)
    assert np.all(abs(centre[:, 0] / extraction.source.width_px - 0.43) < 0.12)
    assert np.all(abs(centre[:, 1] / extraction.source.height_px - 0.3) < 0.12)


def test_containers_of_one_scene_give_the_same_boxes(
    clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions
) -> None:
    boxes = [
        preprocessor.extract(clips[name], options).clips[0].boxes_px
        for name in ("one_face.mov", "one_face_mpeg4.avi", "one_face_vp9.webm")
    ]
    assert max(abs(boxes[0] - other).max() for other in boxes[1:]) <= 3.0


def test_two_people_are_two_clips(clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    extraction = preprocessor.extract(clips["two_faces.mp4"], options)
    assert [len(clip) for clip in extraction.clips] == [24, 24]
    larger, smaller = extraction.clips
    assert larger.quality["face_px"].mean() > smaller.quality["face_px"].mean()
    assert larger.boxes_px[:, 2].max() < smaller.boxes_px[:, 0].min()


def test_a_visitor_is_one_track_with_the_right_times(
    clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions
) -> None:
    extraction = preprocessor.extract(clips["enters_and_leaves.mp4"], options)
    (clip,) = extraction.clips
    assert clip.timestamps_s[0] == pytest.approx(1.0, abs=0.2)
    assert clip.timestamps_s[-1] == pytest.approx(2.6, abs=0.2)
    assert len(clip) + len(extraction.dropped) == 24
    assert {drop.reason for drop in extraction.dropped} <= set(REASONS)


def test_a_cut_ends_the_track(clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    extraction = preprocessor.extract(clips["cut.mp4"], options)
    assert sorted((clip.timestamps_s[0] < 1.0, clip.timestamps_s[-1] < 1.0) for clip in extraction.clips) == [
        (False, False),
        (True, True),
    ]


def test_a_rocket_is_no_face(clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    extraction = preprocessor.extract(clips["no_face.mp4"], options)
    assert extraction.clips == ()
    assert len(extraction.dropped) == len(extraction.sampled_frame_indices)


def test_a_small_face_is_found(clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    extraction = preprocessor.extract(clips["small_face.mp4"], options)
    (clip,) = extraction.clips
    assert len(clip) == len(extraction.sampled_frame_indices)
    assert clip.quality["face_px"].mean() == pytest.approx(30, abs=5)


def test_faces_below_the_limit_are_dropped_with_the_reason(clips: dict[str, Path], options: ExtractionOptions) -> None:
    settings = PreprocessSettings(isolation="none", min_face_px=60)
    with Preprocessor(settings) as preprocessor:
        extraction = preprocessor.extract(clips["small_face.mp4"], options)
    assert extraction.clips == ()
    assert Counter(drop.reason for drop in extraction.dropped) == {"face_too_small": 20}


def test_blurred_and_dark_faces_are_dropped_with_the_reason(tmp_path: Path, options: ExtractionOptions) -> None:
    from PIL import ImageFilter

    picture = Image.fromarray(astronaut())
    picture.filter(ImageFilter.GaussianBlur(5)).save(tmp_path / "blurred.png")
    Image.fromarray(astronaut() // 5).save(tmp_path / "dark.png")
    with Preprocessor(PreprocessSettings(isolation="none", min_exposure=40, min_sharpness=10)) as preprocessor:
        reasons = [
            [drop.reason for drop in preprocessor.extract(tmp_path / name, options).dropped]
            for name in ("blurred.png", "dark.png")
        ]
    assert reasons == [["face_too_blurry"], ["face_too_dark"]]


def test_the_limit_on_tracks_says_so(clips: dict[str, Path], options: ExtractionOptions) -> None:
    with Preprocessor(PreprocessSettings(isolation="none", max_tracks=1)) as preprocessor:
        extraction = preprocessor.extract(clips["two_faces.mp4"], options)
    assert len(extraction.clips) == 1
    assert any("2 faces were followed, the limit is 1" in note for note in extraction.notes)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_images_are_clips_of_one_frame(
    tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions, suffix: str
) -> None:
    path = tmp_path / f"portrait{suffix}"
    Image.fromarray(astronaut()).save(path)
    extraction = preprocessor.extract(path, options)
    assert extraction.source.kind == "image"
    (clip,) = extraction.clips
    assert len(clip) == 1
    assert iou(Box(*clip.boxes_px[0].tolist()), Box(175, 65, 275, 165)) > 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(
    tmp_path: Path, preprocessor: Preprocessor, options: ExtractionOptions, orientation: int
) -> None:
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation](Image.fromarray(astronaut()[:400]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    extraction = preprocessor.extract(tmp_path / "turned.jpg", options)
    assert (extraction.source.width_px, extraction.source.height_px) == (512, 400)
    assert iou(Box(*extraction.clips[0].boxes_px[0].tolist()), Box(175, 65, 275, 165)) > 0.6


def test_repeat_last_fills_the_clip(clips: dict[str, Path], preprocessor: Preprocessor) -> None:
    asked = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=30, short_clip="repeat_last")
    clip = preprocessor.extract(clips["one_face_av1.mkv"], asked).clips[0]
    assert len(clip) == 30
    assert clip.frame_indices[-16:].tolist() == [14] * 16
    assert all(np.array_equal(frame, clip.frames[-1]) for frame in clip.frames[14:])


def test_margin_and_size_are_the_callers(clips: dict[str, Path], preprocessor: Preprocessor) -> None:
    wide = ExtractionOptions(image_size_px=224, crop_margin=2.0, frames=3)
    assert preprocessor.extract(clips["one_face.mp4"], wide).clips[0].frames.shape == (3, 224, 224, 3)


def test_aligned_crops_have_level_eyes(tmp_path: Path, preprocessor: Preprocessor) -> None:
    tilted = Image.fromarray(astronaut()).rotate(20, resample=Image.Resampling.BICUBIC, center=(225, 115))
    tilted.save(tmp_path / "tilted.png")
    aligned, straight = (
        preprocessor.extract(path, ExtractionOptions(image_size_px=112, crop_margin=1.3, align=align)).clips[0].frames[0]
        for path, align in ((tmp_path / "tilted.png", True), (_saved(tmp_path), True))
    )
    # Turned back, the tilted portrait looks like the straight one.
    assert abs(aligned.astype(float) - straight).mean() < 16


def _saved(folder: Path) -> Path:
    Image.fromarray(astronaut()).save(folder / "straight.png")
    return folder / "straight.png"


def test_yaw_has_the_sign_of_the_turn() -> None:
    from preprocess.quality import yaw_deg

    front = np.array([(-3, -3), (3, -3), (0, 0), (0, 4), (-7, -1), (7, -1)], np.float32)
    turned = front.copy()
    turned[2, 0] = 5
    assert yaw_deg(front) == pytest.approx(0, abs=1)
    assert 25 < yaw_deg(turned) < 60


def test_twice_and_with_several_workers_the_crops_are_identical(
    clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions
) -> None:
    names = ["one_face.mp4", "two_faces.mp4", "cut.mp4", "small_face.mp4", "long_gop.mp4", "one_face.gif"]
    paths = [clips[name] for name in names]
    with Preprocessor(workers=2) as several:
        parallel = list(several.extract_all([*paths, *paths], options))
    assert [path for path, _ in parallel] == [*paths, *paths]
    for path, result in parallel:
        alone = preprocessor.extract(path, options)
        assert isinstance(result, Extraction)
        assert len(result.clips) == len(alone.clips) > 0
        for ours, theirs in zip(alone.clips, result.clips, strict=True):
            assert ours.frames.tobytes() == theirs.frames.tobytes()
            assert ours.boxes_px.tobytes() == theirs.boxes_px.tobytes()


def test_stages_add_up(clips: dict[str, Path], preprocessor: Preprocessor, options: ExtractionOptions) -> None:
    stage_s = preprocessor.extract(clips["long_gop.mp4"], options).stage_s
    assert sum(value for name, value in stage_s.items() if name != "total") == pytest.approx(stage_s["total"], rel=0.05)
    assert {"open", "decode", "convert", "detect", "crop", "total"} <= set(stage_s)


def test_the_function_for_one_file(clips: dict[str, Path]) -> None:
    asked = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=4, start_s=0.5, end_s=1.0)
    extraction = extract(clips["one_face.mp4"], asked)
    assert len(extraction.clips[0]) == 4
    assert 0.5 <= extraction.sampled_timestamps_s[0] < extraction.sampled_timestamps_s[-1] < 1.0


def test_no_worker_is_no_preprocessor() -> None:
    with pytest.raises(OptionError, match="workers is 0"):
        Preprocessor(workers=0)
