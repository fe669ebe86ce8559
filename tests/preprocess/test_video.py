"""Decoding: what is sampled is what decoding in order gives, whatever container and codec."""

import gc
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from preprocess import PreprocessSettings, packet_table, video
from preprocess.deadline import Deadline
from preprocess.errors import TimeLimitError, TooLongError, TooManyFramesError, TooManyPixelsError, UndecodableError
from preprocess.media import identify, open_media
from preprocess.orientation import Orientation
from preprocess.video import VideoReader
from tests.clips import CLIPS, FPS, portrait, write_long, write_video

SIZES = {"long_gop.mp4": (160, 120), "odd_size.webm": (321, 241), "small_face.mp4": (640, 480)}


@contextmanager
def reading(path: Path, settings: PreprocessSettings | None = None, budget_s: float = 60.0) -> Iterator[VideoReader]:
    settings = settings or PreprocessSettings()
    with open_media(path, settings) as stream:
        container = identify(stream, path.name)
        with VideoReader(stream, container, name=path.name, settings=settings, deadline=Deadline(budget_s)) as reader:
            yield reader


def digests_in_order(path: Path) -> list[tuple[float, str]]:
    """Presentation time and picture of every frame as the plain library gives them, from the first to the last."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [
            (float(frame.pts * frame.time_base), digest(video.DecodedFrame(0, 0.0, frame, Orientation(-frame.rotation % 360))))
            for frame in frames
            if frame.pts is not None and frame.time_base is not None
        ]


def digest(frame: video.DecodedFrame) -> str:
    return hashlib.sha256(frame.to_rgb().tobytes()).hexdigest()


@pytest.mark.parametrize("name", list(CLIPS))
def test_sampled_frames_are_those_of_decoding_in_order(clips: dict[str, Path], name: str) -> None:
    expected = digests_in_order(clips[name])
    with reading(clips[name]) as reader:
        assert reader.frame_count == len(expected)
        for count in (3, 10, len(expected)):
            indices = np.unique((2 * np.arange(count) + 1) * len(expected) // (2 * count))
            frames = list(reader.frames(indices))
            assert [frame.index for frame in frames] == indices.tolist()
            assert [digest(frame) for frame in frames] == [expected[index][1] for index in indices]
        assert reader.size_px == SIZES.get(name, (320, 240))
        times_s = np.array([time_s for time_s, _ in expected])
        np.testing.assert_allclose(reader.timestamps_s, times_s - times_s[0], atol=1e-6)


@pytest.mark.parametrize("name", ["long_gop.mp4", "one_face_mpeg4.avi", "one_face_mpeg1.mpg"])
def test_seeking_changes_no_pixel(clips: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_table, "MIN_SKIPPED_PACKETS", 2)
    monkeypatch.setattr(video, "MIN_SEEK_PACKETS", 3)
    expected = digests_in_order(clips[name])
    with reading(clips[name]) as reader:
        for index in range(0, len(expected), 7):
            assert [digest(frame) for frame in reader.frames([index])] == [expected[index][1]]


def test_pictures_between_open_groups_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wanted together with its key frame, a picture that is shown before it and decoded after it still needs the group before."""
    monkeypatch.setattr(packet_table, "MIN_SKIPPED_PACKETS", 2)
    clip = write_video(tmp_path / "open.mpg", portrait(2.0), codec="mpeg2video", options={"g": "12", "bf": "2"})
    expected = digests_in_order(clip)
    with reading(clip) as reader:
        table = reader._table
        assert table is not None
        keys = [place for place in np.flatnonzero(table.random_access) if 0 < place < len(table.pts) - 1]
        assert any(table.pts[place + 1] < table.pts[place] for place in keys), "no group of this clip is open"
        for index in range(len(expected) - 1):
            found = {frame.index: digest(frame) for frame in reader.frames([0, index, index + 1])}
            assert found == {wanted: expected[wanted][1] for wanted in (0, index, index + 1)}


def test_a_long_stride_leaves_most_groups_of_pictures_out(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_table, "MIN_SKIPPED_PACKETS", 16)
    with reading(clips["long_gop.mp4"]) as reader:
        assert len(list(reader.frames([1, 151]))) == 2
        # Two frames of the first and the fourth of four groups of 50 pictures, and no more than leads up to them.
        assert reader.decoded_frames <= 8


def test_two_hours_are_not_decoded(tmp_path: Path) -> None:
    clip = write_long(tmp_path / "two_hours.mp4", hours=2, size=(64, 48))
    with reading(clip) as reader:
        assert reader.frame_count == 2 * 3600 * FPS
        indices = (2 * np.arange(60) + 1) * reader.frame_count // 120
        assert [frame.index for frame in reader.frames(indices)] == indices.tolist()
        assert reader.decoded_frames < 60 * 250


def test_sideways_comes_out_upright(clips: dict[str, Path]) -> None:
    with reading(clips["sideways.mp4"]) as reader:
        frame = next(reader.frames([0]))
        assert reader.orientation.turn_deg == 90
        assert reader.size_px == (320, 240)
        assert frame.to_rgb().shape == (240, 320, 3)


def test_a_mirrored_video_is_mirrored_back(clips: dict[str, Path], tmp_path: Path) -> None:
    """The matrix (-1, 0, 0, 1), which some front cameras write, is no half turn."""
    data = bytearray(clips["one_face.mov"].read_bytes())
    at = data.index((1 << 16).to_bytes(4, "big") + bytes(12), data.index(b"tkhd"))
    data[at : at + 4] = (-(1 << 16)).to_bytes(4, "big", signed=True)
    (tmp_path / "mirrored.mov").write_bytes(data)
    with reading(clips["one_face.mov"]) as plain, reading(tmp_path / "mirrored.mov") as mirrored:
        expected, found = next(plain.frames([0])).to_rgb(), next(mirrored.frames([0])).to_rgb()
        assert mirrored.orientation == Orientation(0, mirrored=True)
    np.testing.assert_array_equal(found, expected[:, ::-1])


@pytest.mark.parametrize("name", ["one_face.mp4", "sideways.mp4"])
def test_pictures_are_freed_when_they_are_done_with(clips: dict[str, Path], name: str) -> None:
    """Not when the garbage collector comes: of 720p frames there may be hundreds by then."""

    def alive() -> int:
        return sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        with reading(clips[name]) as reader:
            count = sum(1 for _ in reader.frames(range(reader.frame_count)))
            assert alive() - before <= 3 < count
    finally:
        gc.enable()


def test_a_still_before_the_video_is_not_taken_for_it(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "two_streams.mkv"
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    with av.open(str(clips["one_face.mkv"])) as source, av.open(str(path), "w") as output:
        still = output.add_stream("mjpeg", rate=25)
        assert isinstance(still, av.VideoStream)
        still.width, still.height, still.pix_fmt = 64, 64, "yuvj420p"
        moving = output.add_stream_from_template(source.streams.video[0])
        packet = av.Packet(buffer.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base, packet.is_keyframe = still, 0, 0, Fraction(1, 25), True
        output.mux(packet)
        for copied in source.demux(video=0):
            if copied.size:
                copied.stream = moving
                output.mux(copied)
    with reading(path) as reader:
        assert (reader.codec, reader.frame_count) == ("h264", 25)


def test_colours_that_cannot_be_converted_are_a_typed_error(tmp_path: Path) -> None:
    found = {}
    for matrix in ("YCgCo", "bt2020c"):
        options = {"preset": "ultrafast", "x264-params": f"colormatrix={matrix}"}
        with reading(write_video(tmp_path / f"{matrix}.mp4", portrait(0.2), options=options)) as reader:
            found[matrix] = next(reader.frames([0]))
    assert found["bt2020c"].to_rgb().shape == (240, 320, 3)
    with pytest.raises(UndecodableError, match=r"with colour matrix 8 .* cannot be converted to RGB"):
        found["YCgCo"].to_rgb()


def test_times_of_a_variable_rate_are_kept(clips: dict[str, Path]) -> None:
    with reading(clips["variable_rate.mkv"]) as reader:
        np.testing.assert_allclose(reader.timestamps_s[:6], [0, 0.02, 0.04, 0.06, 0.16, 0.18], atol=1e-9)


@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        ({"max_frame_pixels": 76_799}, TooManyPixelsError, "320x240 = 76800 pixels, the limit is 76799"),
        ({"max_duration_s": 1.5}, TooLongError, "lasts 2 s, the limit is 1.5 s"),
        ({"max_file_frames": 49}, TooManyFramesError, "more than 49 frames"),
        ({"max_decoded_frames": 20}, TooManyFramesError, "more than 20 frames decoded"),
    ],
)
def test_limits_are_named_with_value_and_remedy(
    clips: dict[str, Path], limit: dict[str, float], error: type[Exception], message: str
) -> None:
    settings = PreprocessSettings(**limit)  # type: ignore[arg-type]
    with pytest.raises(error, match=message) as caught, reading(clips["one_face.mp4"], settings) as reader:
        list(reader.frames(range(reader.frame_count)))
    assert f"UNMASK_PREPROCESS_{next(iter(limit)).upper()}" in str(caught.value)


def test_no_time_left_is_a_typed_error(clips: dict[str, Path]) -> None:
    with pytest.raises(TimeLimitError, match="took longer than 0 s"), reading(clips["one_face.mp4"], budget_s=0.0):
        pass


def test_a_file_cut_off_before_its_index_is_undecodable(clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clips["one_face.mp4"].read_bytes()[:2000])
    with pytest.raises(UndecodableError, match=r"cut\.mp4 cannot be read as mp4"), reading(path):
        pass
