"""Where a fake's foreign part is: soft masks from face-mesh points, deformed at random.

After the mask generation of Face X-ray (Li et al., CVPR 2020) and Self-Blended Images (Shiohara and Yamasaki, CVPR 2022).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Region = Literal["face", "inner", "mouth", "eyes", "lower"]

_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_EYES = (362, 263, 386, 374, 33, 133, 159, 145, 70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (98, 327, 2, 6)
_JAW = (152, 148, 176, 149, 150, 136, 172, 377, 400, 378, 379, 365, 397, 58, 288)
"""MediaPipe face-mesh indices."""


def hull_points(points: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    """The mesh points whose convex hull is the region, (N, 2)."""
    indices: tuple[int, ...] | None = {
        "face": None,
        "inner": _LIPS + _EYES + _NOSE,
        "mouth": _LIPS,
        "eyes": _EYES,
        "lower": _LIPS + _JAW + _NOSE[:3],
    }[region]
    return points if indices is None else points[list(indices)]


def soft_mask(
    points: NDArray[np.float32], region: Region, size: tuple[int, ...], rng: np.random.Generator, *, plain: bool = False
) -> NDArray[np.float32]:
    """A region's mask, deformed, softened and of a random strength.

    Args:
        points: (478, 2) mesh points in the picture.
        size: Height and width of the picture, or its shape.
        plain: Full strength, edge not wide: easy to see.

    Returns:
        (H, W) float32 in [0, 1]: the share of the foreign picture.
    """
    import cv2

    hull = hull_points(points, region)
    centre = hull.mean(0)
    span = float(np.ptp(points, axis=0).max())
    grown = centre + (hull - centre) * rng.uniform(0.85, 1.15, 2).astype(np.float32)
    grown = grown + rng.normal(0, 0.012 * span, grown.shape).astype(np.float32)
    mask = np.zeros(size[:2], np.float32)
    outline = cv2.convexHull(grown.astype(np.float32))
    cv2.fillConvexPoly(mask, np.round(outline * 8).astype(np.int32), (1.0,), lineType=cv2.LINE_AA, shift=3)
    if rng.random() < 0.6:
        mask = bend(mask, rng, amount_px=0.05 * span)
    blur_px = span * float(np.exp(rng.uniform(np.log(0.008), np.log(0.03 if plain else 0.09))))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), blur_px), np.float32)
    if rng.random() < 0.4:
        # Eroded and softened again, the edge moves inwards, as blending code that protects the outline does.
        inner = np.asarray(cv2.GaussianBlur(np.where(mask > 0.8, mask, 0).astype(np.float32), (0, 0), blur_px), np.float32)
        mask = inner if float(inner.max()) > 0.2 else mask
    strongest = float(mask.max())
    if strongest < 0.02:
        return mask
    share = float(rng.choice((0.5, 0.75, 1.0, 1.0, 1.0)))
    return np.asarray(mask / strongest * (1.0 if plain else share), np.float32)


def bend(picture: NDArray[np.float32], rng: np.random.Generator, *, amount_px: float) -> NDArray[np.float32]:
    """Moves each point by a smooth random field (elastic deformation, Simard et al. 2003)."""
    import cv2

    height, width = picture.shape[:2]
    field = rng.uniform(-1, 1, (4, 4, 2)).astype(np.float32) * amount_px
    shifts = np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(picture, columns + shifts[..., 0], rows + shifts[..., 1], cv2.INTER_LINEAR), np.float32)
