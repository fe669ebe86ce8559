"""What happens to pictures on their way: scaling, codecs, noise, blur, light. Drawn once, applied to both of a pair.

A class must not be told from the quality of its pictures, so every draw is made without knowing the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Codec = Literal["none", "jpeg", "h264", "mpeg1", "mpeg4"]
_SCALERS = (0, 1, 1, 2, 3, 3, 4)
"""OpenCV's nearest, linear, cubic, area, Lanczos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One draw. ``apply`` does the same to every picture of the same size."""

    scale: float = 1.0
    """New side in shares of the old one; at most 1."""
    scaler: int = 3
    """OpenCV's number of the interpolation."""
    codec: Codec = "none"
    level: float = 0.0
    """How strong the codec compresses, in [0, 1]: JPEG quality 95 to 30, CRF 18 to 40, quantiser 2 to 20."""
    noise: float = 0.0
    """Standard deviation of the noise in steps of 255."""
    noise_seed: int = 0
    blur_px: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0

    def apply(self, picture: Picture) -> Picture:
        """(H, W, 3) uint8 RGB -> the same, smaller by ``scale``."""
        return encode(self._before_codec(picture, self.noise_seed), self.codec, self.level)

    def apply_clip(self, pictures: Sequence[Picture]) -> list[Picture]:
        """``apply`` for the frames of one clip: noise is new in each, and video codecs see them in order."""
        frames = [self._before_codec(picture, self.noise_seed + number) for number, picture in enumerate(pictures)]
        if self.codec == "jpeg":
            return [encode(frame, self.codec, self.level) for frame in frames]
        return encode_clip(frames, self.codec, self.level)

    def _before_codec(self, picture: Picture, noise_seed: int) -> Picture:
        import cv2

        if self.scale < 1.0:
            height, width = picture.shape[:2]
            size = (max(16, round(width * self.scale)), max(16, round(height * self.scale)))
            picture = np.asarray(cv2.resize(picture, size, interpolation=self.scaler), np.uint8)
        if self.blur_px > 0:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur_px), np.uint8)
        if self.gain != 1.0 or self.offset or self.gamma != 1.0:
            steps = np.arange(256, dtype=np.float32)
            table = 255 * (((steps - 128) * self.gain + 128 + self.offset).clip(0, 255) / 255) ** self.gamma
            picture = np.asarray(cv2.LUT(picture, table.astype(np.uint8)), np.uint8)
        if self.noise > 0:
            noise = np.random.default_rng(noise_seed).normal(0, self.noise, picture.shape).astype(np.float32)
            picture = (picture + noise).clip(0, 255).astype(np.uint8)
        return picture

    @property
    def quality_cost(self) -> float:
        """How much the codec took away, in [0, 1]; 0 where there was none."""
        return self.level if self.codec != "none" else 0.0


def draw(rng: np.random.Generator, *, severity: float, min_scale: float) -> Corruption:
    """A random corruption.

    Args:
        severity: In [0, 1]: how likely and how strong.
        min_scale: Smallest ``scale``, so that the face keeps its least size.
    """
    happens = rng.random(6) < np.array([0.55, 0.75, 0.25, 0.2, 0.4, 0.2]) * min(0.4 + 0.6 * severity, 4 * severity)
    kinds: tuple[Codec, ...] = ("jpeg", "jpeg", "jpeg", "h264", "h264", "h264", "mpeg1", "mpeg4")
    return Corruption(
        scale=float(np.exp(rng.uniform(np.log(min(1.0, min_scale)), 0))) if happens[0] else 1.0,
        scaler=int(rng.choice(_SCALERS)),
        codec=cast(Codec, str(rng.choice(kinds))) if happens[1] else "none",
        level=float(rng.uniform(0, 0.35 + 0.65 * severity)),
        noise=float(rng.uniform(1, 2 + 6 * severity)) if happens[2] else 0.0,
        noise_seed=int(rng.integers(2**31)),
        blur_px=float(rng.uniform(0.3, 0.5 + 0.7 * severity)) if happens[3] else 0.0,
        gain=float(rng.uniform(0.8, 1.2)) if happens[4] else 1.0,
        offset=float(rng.uniform(-20, 20)) if happens[4] else 0.0,
        gamma=float(rng.uniform(0.75, 1.33)) if happens[5] else 1.0,
    )


def encode(picture: Picture, codec: Codec, level: float) -> Picture:
    """One picture through a codec and back; through a video codec as the second frame of a moving picture."""
    import cv2

    if codec == "none":
        return picture
    if codec == "jpeg":
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(95 - 65 * level)])
        return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
    moved = np.ascontiguousarray(np.roll(picture, 1, axis=1))
    return encode_clip([moved, picture], codec, level)[-1]


def encode_clip(pictures: Sequence[Picture], codec: Codec, level: float) -> list[Picture]:
    """Pictures of one size through a video codec and back (in memory, one thread).

    Args:
        codec: Not ``jpeg``.
        level: In [0, 1]; H.264: CRF 18 to 40, MPEG-1 and MPEG-4 part 2: quantiser 2 to 20.
    """
    import av
    import cv2

    if codec == "none":
        return list(pictures)
    height, width = pictures[0].shape[:2]
    down, right = height % 2, width % 2
    name, read_as = {"h264": ("libx264", "h264"), "mpeg1": ("mpeg1video", "mpeg1video"), "mpeg4": ("mpeg4", "mpeg4")}[codec]
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = width + right, height + down, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25, 1)
    encoder.thread_count = 1
    if codec == "h264":
        preset = "ultrafast" if level < 0.5 else "veryfast"
        encoder.options = {
            "crf": str(round(18 + 22 * level)),
            "preset": preset,
            "tune": "zerolatency",
            "x264-params": "log-level=none",
        }
    else:
        quantiser = str(round(2 + 18 * level))
        encoder.options = {"qmin": quantiser, "qmax": quantiser}
        encoder.bit_rate = 1_000_000
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(read_as, "r"))
    decoder.thread_count = 1
    packets = []
    for number, picture in enumerate(pictures):
        if down or right:
            picture = np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        # OpenCV's conversion: FFmpeg's scaler takes 2 ms to set up for each picture.
        frame = av.VideoFrame.from_ndarray(
            np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8), format="yuv420p"
        )
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    planes = [frame.to_ndarray() for frame in frames]
    return [np.asarray(cv2.cvtColor(plane, cv2.COLOR_YUV2RGB_I420)[:height, :width], np.uint8) for plane in planes]
