"""Small clips for tests and the demo, made of photographs that scikit-image's wheel carries: the same bytes each time.

    python -m tests.clips OUT_DIR
    python -m tests.clips --demo OUT.mp4

The face is Eileen Collins's, NASA's portrait of 1999 (public domain).
"""

import argparse
import logging
import math
import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder would write its settings to stderr
Picture = NDArray[np.uint8]
FPS = 25


@cache
def _photograph(name: str) -> Picture:
    from skimage import data

    return np.asarray(getattr(data, name)(), np.uint8)


def astronaut() -> Picture:
    """The photograph, (512, 512, 3) uint8 RGB; the face is about 100 px wide at (225, 115)."""
    return _photograph("astronaut")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticker:
    """A person (head and shoulders of the photograph) put into a scene."""

    face_px: float
    """Width of the face in the clip."""
    path: Callable[[float], tuple[float, float]]
    """Seconds -> centre of the face in pixels."""
    visible: Callable[[float], bool] = lambda _: True
    flip: bool = False
    warmth: float = 0.0
    """Shifts red against blue, so that two people of one scene differ."""

    def paste(self, scene: Picture, time_s: float) -> None:
        """Draws the person into the scene, (H, W, 3) uint8 RGB, with a soft edge."""
        if not self.visible(time_s):
            return
        part = astronaut()[10:300, 90:370].astype(np.float32)
        if self.flip:
            part = part[:, ::-1]
        part = (part + np.array([1, 0, -1], np.float32) * self.warmth).clip(0, 255)
        height, width = part.shape[:2]
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        inside = ((columns - width / 2) / (width * 0.48)) ** 4 + ((rows - height / 2) / (height * 0.48)) ** 4
        alpha = np.clip((1.0 - inside) * 4, 0, 1)[..., None]
        scale = self.face_px / 100.0
        x, y = self.path(time_s)
        face_x = width - 135 if self.flip else 135
        matrix = np.array([[scale, 0, x - face_x * scale], [0, scale, y - 115 * scale]], np.float64)
        size = (scene.shape[1], scene.shape[0])
        # Scaled down by a plain affine map the face would flicker; a blur of the right width stands for averaging.
        blur = max(0.0, 0.5 / scale - 0.5)
        source = cv2.GaussianBlur(part, (0, 0), blur) if blur > 0.1 else part
        moved = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(alpha.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
        scene[:] = (scene * (1 - mask) + moved * mask).round().astype(np.uint8)


def camera(picture: Picture, time_s: float, size: tuple[int, int], *, zoom: float = 1.0, shake_px: float = 3.0) -> Picture:
    """What a hand-held camera sees of a still picture: slow pan and zoom, a little roll and shake."""
    width, height = size
    cover = max(width / picture.shape[1], height / picture.shape[0]) * (1.12 + 0.03 * math.sin(0.9 * time_s)) * zoom
    roll = math.radians(0.8 * math.sin(1.3 * time_s))
    shift_x = 10 * math.sin(0.7 * time_s) + shake_px * math.sin(7.1 * time_s) * math.sin(2.3 * time_s)
    shift_y = 7 * math.cos(0.8 * time_s) + shake_px * math.sin(6.3 * time_s + 1) * math.cos(1.9 * time_s)
    a, b = cover * math.cos(roll), cover * math.sin(roll)
    cx, cy = picture.shape[1] / 2, picture.shape[0] / 2
    matrix = np.array(
        [[a, -b, width / 2 + shift_x - a * cx + b * cy], [b, a, height / 2 + shift_y - b * cx - a * cy]], np.float64
    )
    seen = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.uint8)


def background(name: str, time_s: float, size: tuple[int, int]) -> Picture:
    """A photograph without a person, seen by the camera."""
    picture = _photograph(name)
    return camera(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2), time_s, size)


def scene(
    stickers: list[Sticker], *, seconds: float, size: tuple[int, int] = (320, 240), behind: str = "rocket", fps: int = FPS
) -> Iterator[Picture]:
    """Frames of people in front of a photograph, (H, W, 3) uint8 RGB."""
    for count in range(round(seconds * fps)):
        time_s = count / fps
        picture = background(behind, time_s, size).copy()
        for sticker in stickers:
            sticker.paste(picture, time_s)
        yield picture


def portrait(seconds: float, size: tuple[int, int] = (320, 240), fps: int = FPS) -> Iterator[Picture]:
    """The photograph down to the chest, seen by a hand-held camera."""
    for count in range(round(seconds * fps)):
        time_s = count / fps
        # Light that flickers a little, and sensor noise of a fixed seed, keep frames from being copies of each other.
        picture = camera(astronaut()[:384], time_s, size).astype(np.float32) * (1 + 0.04 * math.sin(2.1 * time_s))
        noise = np.random.default_rng(count).normal(0, 2.0, picture.shape).astype(np.float32)
        yield (picture + noise).clip(0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Iterator[Picture],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    fps: int = FPS,
    times: Callable[[int], int] | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Encodes frames with one thread, so that the bytes do not depend on the machine.

    Args:
        times: Frame number -> presentation time in thousandths of a second, for a variable frame rate.
    """
    if options is None:
        options = {"crf": "23", "preset": "veryfast"} if codec in ("libx264", "libx265") else {}
    with av.open(str(path), "w", format=container, container_options={"fflags": "+bitexact"}) as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=fps, options={"threads": "1", **options}))
        stream.pix_fmt = pixel_format
        if codec in ("mpeg4", "mpeg1video", "wmv2", "flv", "h263", "msmpeg4v3"):
            stream.bit_rate = 1_500_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for count, picture in enumerate(frames):
            if count == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            frame.pts = count if times is None else times(count)
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_long(path: Path, *, hours: float, size: tuple[int, int], gop: int = 250) -> Path:
    """A long video made quickly: one group of pictures is encoded and then written again and again, later each time."""
    options = {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "preset": "veryfast", "crf": "28"}
    chunk = write_video(path.with_suffix(".chunk.mp4"), portrait(gop / FPS, size), options=options)
    with av.open(str(chunk)) as source, av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as output:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        data = [(bytes(packet), packet.pts or 0, packet.dts or 0, packet.is_keyframe) for packet in packets]
        stream = output.add_stream_from_template(source.streams.video[0])
        period = round(gop / FPS / packets[0].time_base)
        for turn in range(round(hours * 3600 * FPS / gop)):
            for content, pts, dts, is_keyframe in data:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, packets[0].time_base, is_keyframe
                packet.pts, packet.dts = pts + turn * period, dts + turn * period
                output.mux(packet)
    chunk.unlink()
    return path


def write_demo(path: Path) -> Path:
    """Four seconds, 640x480, one face, hand-held camera."""
    return write_video(path, portrait(4.0, (640, 480)))


def turn_metadata(path: Path, degrees: int) -> Path:
    """Writes a clockwise rotation into an mp4's track header (ISO/IEC 14496-12, tkhd), as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    turns = {
        90: (0, 1, 0, -1, 0, 0),
        180: (-1, 0, 0, 0, -1, 0),
        270: (0, -1, 0, 1, 0, 0),
    }
    a, b, u, c, d, v = turns[degrees]
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, u, c << 16, d << 16, v, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def _still(x: float, y: float) -> Callable[[float], tuple[float, float]]:
    return lambda time_s: (x + 3 * math.sin(2 * time_s), y + 2 * math.cos(1.7 * time_s))


def _two() -> list[Sticker]:
    return [
        Sticker(face_px=62, path=lambda t: (90 + 8 * math.sin(t), 100 + 3 * math.sin(2 * t))),
        Sticker(face_px=52, path=lambda t: (235 + 6 * math.cos(t), 110 + 3 * math.cos(2 * t)), flip=True, warmth=18),
    ]


def _visitor() -> list[Sticker]:
    return [Sticker(face_px=60, path=_still(160, 100), visible=lambda t: 1.0 <= t < 2.6)]


def _turned(frames: Iterator[Picture]) -> Iterator[Picture]:
    return (np.ascontiguousarray(np.rot90(frame)) for frame in frames)


def _uneven(count: int) -> int:
    """Presentation time in ms: bursts of 20 ms and gaps of 100 ms."""
    return count // 4 * 160 + count % 4 * 20


FAST = {"cpu-used": "8", "deadline": "realtime"}
QUIET = {"x265-params": "log-level=none"}
TWO_SECONDS_GOP = {"g": "50", "keyint_min": "50", "preset": "veryfast", "bf": "2"}

CLIPS: dict[str, Callable[[Path], Path]] = {
    "one_face.mp4": lambda path: write_video(path, portrait(2.0)),
    "one_face.mov": lambda path: write_video(path, portrait(1.0)),
    "one_face.mkv": lambda path: write_video(path, portrait(1.0)),
    "one_face.3gp": lambda path: write_video(path, portrait(1.0)),
    "one_face_hevc.mp4": lambda path: write_video(path, portrait(1.0), codec="libx265", options=QUIET),
    "one_face_vp9.webm": lambda path: write_video(path, portrait(1.0), codec="libvpx-vp9", options=FAST),
    "one_face_vp8.webm": lambda path: write_video(path, portrait(1.0), codec="libvpx", options={**FAST, "b": "1500k"}),
    "one_face_av1.mkv": lambda path: write_video(path, portrait(0.6), codec="libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}),
    "one_face_mpeg4.avi": lambda path: write_video(path, portrait(1.0), codec="mpeg4"),
    "one_face_mpeg1.mpg": lambda path: write_video(path, portrait(1.0), codec="mpeg1video"),
    "one_face.wmv": lambda path: write_video(path, portrait(1.0), codec="wmv2"),
    "one_face.flv": lambda path: write_video(path, portrait(1.0), codec="flv"),
    "one_face.gif": lambda path: write_video(path, portrait(0.8), codec="gif", pixel_format="rgb8"),
    "ten_bit.mp4": lambda path: write_video(path, portrait(0.6), codec="libx265", pixel_format="yuv420p10le", options=QUIET),
    "grey.mkv": lambda path: write_video(path, portrait(0.6), pixel_format="gray"),
    "odd_size.webm": lambda path: write_video(path, portrait(0.6, (321, 241)), codec="libvpx-vp9", options=FAST),
    "variable_rate.mkv": lambda path: write_video(path, portrait(1.0), times=_uneven),
    "sideways.mp4": lambda path: turn_metadata(write_video(path, _turned(portrait(0.6))), 90),
    "long_gop.mp4": lambda path: write_video(path, portrait(8.0, (160, 120)), options=TWO_SECONDS_GOP),
    "no_face.mp4": lambda path: write_video(path, scene([], seconds=1.0)),
    "two_faces.mp4": lambda path: write_video(path, scene(_two(), seconds=2.0)),
    "enters_and_leaves.mp4": lambda path: write_video(path, scene(_visitor(), seconds=3.6)),
    "cut.mp4": lambda path: write_video(
        path,
        (
            frame
            for behind, warmth in (("rocket", 0.0), ("coffee", 25.0))
            for frame in scene([Sticker(face_px=62, path=_still(160, 100), warmth=warmth)], seconds=1.0, behind=behind)
        ),
    ),
    "small_face.mp4": lambda path: write_video(path, scene([Sticker(face_px=30, path=_still(420, 120))], seconds=0.8, size=(640, 480))),
}  # fmt: skip
"""File name -> its maker."""


def make_clips(out_dir: Path, names: list[str] | None = None) -> dict[str, Path]:
    """Writes clips into a folder: all, or those named. Clips that are there already are left as they are."""
    out_dir.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in names or list(CLIPS):
        made[name] = out_dir / name
        if not made[name].exists():
            CLIPS[name](made[name])
    return made


def main() -> int:
    """Command line: see the module's text."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Makes small clips of a face, the same each time.")
    parser.add_argument("out", type=Path, help="folder for all clips; with --demo the file for one")
    parser.add_argument("--demo", action="store_true", help="make the demo's clip only: 4 s, 640x480")
    arguments = parser.parse_args()
    if arguments.demo:
        logger.info("%s", write_demo(arguments.out))
    else:
        for path in make_clips(arguments.out).values():
            logger.info("%s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
