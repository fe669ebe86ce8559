"""A heat map as a transparent PNG to lay over its crop. Written here, byte by byte: this process opens no picture and needs no library
that could.

The colours are a ramp of even steps in lightness (OKLab, Ottosson 2020), violet over red to yellow: more is lighter, for eyes that see few
colours and in print, too. What did not raise the score is clear.
"""

import math
import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

STEPS = 256
_LIGHTNESS = (0.34, 0.95)
_HUE_DEG = (-65.0, 103.0)
_CHROMA = 0.17
_OPACITY = 0.82
Rgb = tuple[int, int, int]


@cache
def ramp() -> tuple[Rgb, ...]:
    """The colours (sRGB, 0 to 255), from least to most."""
    colours = []
    for step in range(STEPS):
        share = step / (STEPS - 1)
        lightness = _LIGHTNESS[0] + share * (_LIGHTNESS[1] - _LIGHTNESS[0])
        hue = math.radians(_HUE_DEG[0] + share * (_HUE_DEG[1] - _HUE_DEG[0]))
        chroma = _CHROMA
        while not all(0.0 <= value <= 1.0 for value in _srgb(lightness, chroma, hue)):
            chroma -= 0.005  # of this lightness and hue a screen has less saturated colours alone
        red, green, blue = (round(255 * value) for value in _srgb(lightness, chroma, hue))
        colours.append((red, green, blue))
    return tuple(colours)


def opacity(share: float) -> float:
    """How much of the face a value in [0, 1] covers."""
    return _OPACITY * share


def png(heatmap: NDArray[np.float32], largest: float, side_px: int) -> bytes:
    """A heat map (S, S), scaled so that ``largest`` is the end of the ramp, as a PNG of ``side_px`` squared."""
    shares = np.clip(enlarge(heatmap, side_px) / largest, 0.0, 1.0) if largest > 0 else np.zeros((side_px, side_px))
    rows = np.zeros((side_px, side_px + 1), np.uint8)  # each begins with the number of its filter: none
    rows[:, 1:] = (shares * (STEPS - 1)).round()
    alpha = bytes(round(255 * opacity(step / (STEPS - 1))) for step in range(STEPS))
    parts = (
        _chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", bytes(value for colour in ramp() for value in colour)),
        _chunk(b"tRNS", alpha),
        _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
        _chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def enlarge(values: NDArray[np.float32], side_px: int) -> NDArray[np.float64]:
    """Bilinear, each value in the middle of the square that it stands for."""
    count = len(values)
    at = np.clip((np.arange(side_px) + 0.5) * count / side_px - 0.5, 0, count - 1)
    low = np.minimum(at.astype(int), max(count - 2, 0))
    high = np.minimum(low + 1, count - 1)
    share = at - low
    rows = values[low] * (1 - share)[:, None] + values[high] * share[:, None]
    found: NDArray[np.float64] = rows[:, low] * (1 - share) + rows[:, high] * share
    return found


def _srgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """OKLCh -> sRGB; outside [0, 1] where a screen has no such colour."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in linear)
    return red, green, blue


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
