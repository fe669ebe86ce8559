"""A face's square out of a picture. Training cuts with the same function, so that both see the same thing."""

import math

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Box


def crop_square(rgb: NDArray[np.uint8], box: Box, *, size_px: int, margin: float) -> NDArray[np.uint8]:
    """The square round a face's box, its aspect kept; beyond the picture its edge is repeated.

    Args:
        rgb: (H, W, 3) uint8 RGB.
        size_px: Side of what is returned.
        margin: Side of the square in the source, in multiples of the box's longer side.

    Returns:
        (size_px, size_px, 3) uint8 RGB.
    """
    import cv2

    side = max(2, round(box.side * margin))
    x, y = box.centre
    left, top = round(x - side / 2), round(y - side / 2)
    height, width = rgb.shape[:2]
    inside = rgb[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    if inside.size == 0:
        return np.zeros((size_px, size_px, 3), np.uint8)
    missing = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    if any(missing):
        inside = np.asarray(cv2.copyMakeBorder(inside, *missing, cv2.BORDER_REPLICATE), np.uint8)
    # Area averaging keeps what is finer than a pixel from turning into patterns; enlarging needs an interpolation.
    method = cv2.INTER_AREA if side >= size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (size_px, size_px), interpolation=method), np.uint8)


def shrink_picture(rgb: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """A (H, W, 3) uint8 RGB picture scaled down to at most ``longest_px`` on its longer side; always a copy."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    if scale < 1.0:
        # Whole steps by averaging and the rest by interpolation: five times as fast as averaging over broken steps.
        step = math.floor(1 / scale)
        if step > 1:
            rgb = np.asarray(cv2.resize(rgb, (width // step, height // step), interpolation=cv2.INTER_AREA), np.uint8)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if rgb.shape[1::-1] == size:
            return rgb
        return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return rgb.copy()


def encode_picture(rgb: NDArray[np.uint8]) -> bytes:
    """A JPEG for people of a (H, W, 3) uint8 RGB picture."""
    import cv2

    encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not encoded:
        raise ValueError(f"a picture of shape {rgb.shape} could not be encoded as JPEG")
    return jpeg.tobytes()


_ALIGNED = np.array([(0.345, 0.38), (0.655, 0.38), (0.5, 0.56), (0.5, 0.73)], np.float64)
"""Where right eye, left eye, nose tip and mouth centre stand in an aligned crop of margin 1.3, as shares of its side.
BlazeFace gives the mouth as one point, so of the customary five points there are four; the corners of the mouth would take
MediaPipe's face mesh, a third model, run on every face."""


def crop_aligned(rgb: NDArray[np.uint8], points: NDArray[np.float32], *, size_px: int, margin: float) -> NDArray[np.uint8]:
    """The face turned upright and scaled so that eyes, nose and mouth stand where they stand in every aligned crop.

    The similarity transform is the least-squares one (Umeyama 1991). Arguments and result as for ``crop_square``;
    ``points`` are the detector's, (6, 2) x, y in source pixels.
    """
    import cv2

    target = ((_ALIGNED - 0.5) * 1.3 / margin + 0.5) * size_px
    source = points[:4].astype(np.float64)
    # As complex numbers, a similarity without reflection is z -> a * z + b.
    zs, zt = source @ (1, 1j), target @ (1, 1j)
    centred = zs - zs.mean()
    spread = float((abs(centred) ** 2).sum())
    if spread < 1e-6:
        return np.zeros((size_px, size_px, 3), np.uint8)
    a = complex((centred.conj() * (zt - zt.mean())).sum() / spread)
    picture = rgb
    shrink = max(1, math.floor(1 / abs(a))) if abs(a) > 0 else 1
    if shrink > 1:
        # warpAffine looks at four source pixels only, so the picture round the face is averaged down first.
        reach = 2 * size_px / abs(a)
        x, y = complex(zs.mean()).real, complex(zs.mean()).imag
        left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
        part = rgb[top : math.ceil(y + reach), left : math.ceil(x + reach)]
        size = (max(1, part.shape[1] // shrink), max(1, part.shape[0] // shrink))
        picture = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        zs = (zs - complex(left, top)) / shrink
        a *= shrink
    b = complex(zt.mean() - a * zs.mean())
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return np.asarray(
        cv2.warpAffine(picture, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
