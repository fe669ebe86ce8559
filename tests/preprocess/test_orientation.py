"""Display matrices."""

import itertools
import struct

import numpy as np
import pytest

from preprocess.orientation import AS_STORED, of_display_matrix

ONE = 1 << 16


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    values = [round(value * ONE) for value in (a, b, 0, c, d, 0, 0, 0)]
    return struct.pack("=9i", *values, 1 << 30)


ALL = [
    (a, b, c, d) for a, b, c, d in itertools.product((-1, 0, 1), repeat=4) if abs(a) == abs(d) != abs(b) == abs(c)
]  # the four turns, and each of them mirrored


@pytest.mark.parametrize("values", ALL)
def test_every_pixel_goes_where_the_matrix_sends_it(values: tuple[int, int, int, int]) -> None:
    a, b, c, d = values
    height, width = 2, 3
    stored = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    sent = {(a * x + c * y, b * x + d * y): stored[y, x] for y in range(height) for x in range(width)}
    left, top = (min(place[axis] for place in sent) for axis in (0, 1))
    upright = of_display_matrix(matrix(*values)).upright(stored)
    assert {(x + left, y + top): upright[y, x].tolist() for y, x in np.ndindex(upright.shape[:2])} == {
        place: pixel.tolist() for place, pixel in sent.items()
    }


def test_there_are_eight() -> None:
    assert len(ALL) == len({of_display_matrix(matrix(*values)) for values in ALL}) == 8


@pytest.mark.parametrize("data", [matrix(0.7, 0.7, -0.7, 0.7), matrix(0, 0, 0, 0), b"", matrix(0, 1, -1, 0)[:20]])
def test_others_leave_the_picture_as_it_is(data: bytes) -> None:
    assert of_display_matrix(data) == AS_STORED
