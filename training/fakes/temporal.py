"""Fakes that show in time more than in any one frame.

Frame-by-frame generators leave a face that trembles against its head, changes colour from frame to frame, has parts that do
not move, or comes out of a codec of its own. Each function takes the frames of one genuine clip and returns as many.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.corruptions import Codec, encode_clip
from training.fakes.blend import Picture, affine_between, change_place, match_colour, mix
from training.fakes.masks import Region, soft_mask

TemporalKind = Literal["jitter", "flicker", "frozen", "recoded"]

_CODECS: tuple[Codec, ...] = ("h264", "mpeg1", "mpeg4")

Meshes = Sequence[NDArray[np.float32]]
"""Mesh points (478, 2) of each frame."""


def jitter(pictures: Sequence[Picture], meshes: Meshes, seed: int) -> list[Picture]:
    """The face lies a little elsewhere in each frame."""
    out = []
    for number, (picture, points) in enumerate(zip(pictures, meshes, strict=True)):
        mask = soft_mask(points, "face", picture.shape, np.random.default_rng(seed))
        moved = change_place(picture, points, np.random.default_rng((seed, number)), 0.7)
        out.append(mix(picture, moved, mask))
    return out


def flicker(pictures: Sequence[Picture], meshes: Meshes, seed: int) -> list[Picture]:
    """The face's light and colour change from frame to frame."""
    out = []
    rng = np.random.default_rng(seed)
    strength = rng.uniform(3, 8)
    for picture, points in zip(pictures, meshes, strict=True):
        mask = soft_mask(points, "face", picture.shape, np.random.default_rng(seed))
        change = rng.normal(0, strength) + rng.normal(0, strength / 3, 3)
        tinted = (picture + change.astype(np.float32)).clip(0, 255).astype(np.uint8)
        out.append(mix(picture, tinted, mask))
    return out


def frozen(pictures: Sequence[Picture], meshes: Meshes, seed: int) -> list[Picture]:
    """Mouth or eyes stay what they are in the first frame, following the head."""
    import cv2

    region: Region = "mouth" if seed % 2 else "eyes"
    first, first_points = pictures[0], meshes[0]
    out = [first]
    for picture, points in zip(pictures[1:], meshes[1:], strict=True):
        mask = soft_mask(points, region, picture.shape, np.random.default_rng(seed))
        height, width = picture.shape[:2]
        warp = affine_between(first_points, points)
        moved = cv2.warpAffine(first, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        out.append(mix(picture, match_colour(np.asarray(moved, np.uint8), picture, mask, how_much=0.8), mask))
    return out


def recoded(pictures: Sequence[Picture], meshes: Meshes, seed: int) -> list[Picture]:
    """The face has been through a video codec that its surroundings have not: what it lost changes with the kind of frame."""
    rng = np.random.default_rng(seed)
    codec = _CODECS[int(rng.integers(len(_CODECS)))]
    coded = encode_clip(pictures, codec, float(rng.uniform(0.5, 1)))
    out = []
    for picture, points, other in zip(pictures, meshes, coded, strict=True):
        mask = soft_mask(points, "face", picture.shape, np.random.default_rng(seed))
        out.append(mix(picture, other, mask))
    return out


MAKERS = {"jitter": jitter, "flicker": flicker, "frozen": frozen, "recoded": recoded}
