"""Which way up a decoded picture is, by the display matrix that its container carries (ISO/IEC 14496-12, 8.5.2)."""

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MATRIX = struct.Struct("=9i")  # FFmpeg hands it over in the machine's byte order
_NEAR_DEG = 1.0
"""A turn that is farther from a quarter turn is not applied; players do the same."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a stored picture upright: the turn first, then the mirror."""

    turn_deg: int = 0
    """Clockwise: 0, 90, 180 or 270."""
    mirrored: bool = False
    """Left and right change places, as in what some phones' front cameras store."""

    @property
    def on_its_side(self) -> bool:
        """Whether width and height change places."""
        return self.turn_deg in (90, 270)

    def upright(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as a viewer sees it, (H, W, 3) uint8 RGB, contiguous."""
        turned = np.rot90(rgb, -(self.turn_deg // 90))
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned, np.uint8)


AS_STORED = Orientation()


def of_display_matrix(matrix: bytes) -> Orientation:
    """The orientation of a display matrix: nine 32-bit integers by row, of which the four that turn and mirror count.

    One that is cut off, or that turns by something other than quarters, leaves the picture as it is stored.
    """
    if len(matrix) < _MATRIX.size:
        return AS_STORED
    a, b, _, c, d, *_ = _MATRIX.unpack_from(matrix)
    # (x, y) -> (a x + c y, b x + d y), y downwards. Where that mirrors, taking the mirror away leaves a turn.
    mirrored = a * d - b * c < 0
    angle_deg = math.degrees(math.atan2(b, -a if mirrored else a))
    quarters = round(angle_deg / 90)
    if (a, b) == (0, 0) or abs(angle_deg - 90 * quarters) > _NEAR_DEG:
        return AS_STORED
    return Orientation(turn_deg=quarters % 4 * 90, mirrored=mirrored)
