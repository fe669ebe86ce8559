"""Fakes from real faces: a face blended with a changed copy of itself, or with another person's.

``self_blend`` follows Self-Blended Images (Shiohara and Yamasaki, CVPR 2022), with one difference: the real picture of a pair
is the very background that the fake was blended into, so that the two differ inside the mask and nowhere else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fakes.masks import Region, bend, soft_mask

Picture = NDArray[np.uint8]
WHOLE_FACE: tuple[Region, ...] = ("face", "face", "face", "inner", "inner")
FACE_PARTS: tuple[Region, ...] = ("lower", "mouth", "eyes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A real picture and the fake made of it."""

    real: Picture
    """(H, W, 3) uint8 RGB."""
    fake: Picture
    mask: NDArray[np.float32]
    """(H, W): the share of the foreign picture in the fake."""


def self_blend(
    picture: Picture, points: NDArray[np.float32], rng: np.random.Generator, *, strength: float = 1.0, plain: bool = False,
    part_share: float = 0.375,
) -> Pair:  # fmt: skip
    """Blends a face with a copy of itself that differs in colour, sharpness, place and shape.

    Args:
        picture: (H, W, 3) uint8 RGB.
        points: (478, 2) mesh points.
        strength: Scales the differences; above 1 they are easier to see.
        plain: Whole faces at full share with an edge that is not wide.
        part_share: How often only a part of the face is blended, which the publication does not do: 0 for its landmark hulls.
    """
    region: Region = rng.choice(WHOLE_FACE if plain or rng.random() >= part_share else FACE_PARTS)
    mask = soft_mask(points, region, picture.shape, rng, plain=plain)
    background, source = picture, picture
    if rng.random() < 0.5:
        source = change_look(picture, rng, strength)
    else:
        background = change_look(picture, rng, strength)
    source = change_place(source, points, rng, strength)
    return Pair(real=background, fake=mix(background, source, mask), mask=mask)


def swap(
    picture: Picture,
    points: NDArray[np.float32],
    donor: Picture,
    donor_points: NDArray[np.float32],
    rng: np.random.Generator,
) -> Pair:
    """Puts another person's face into a picture, as face-swap programs do: aligned, coloured to match, blended.

    Args:
        picture: (H, W, 3) uint8 RGB; ``donor`` may be of another size.
        points: (478, 2) mesh points of each.
    """
    import cv2

    region: Region = rng.choice(("face", "face", "inner"))
    mask = soft_mask(points, region, picture.shape, rng)
    warp = affine_between(donor_points, points)
    height, width = picture.shape[:2]
    moved = np.asarray(
        cv2.warpAffine(donor, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8
    )
    if rng.random() < 0.85:
        moved = match_colour(moved, picture, mask, how_much=float(rng.uniform(0.6, 1.0)))
    if rng.random() < 0.3:
        moved = change_look(moved, rng, 0.5)
    return Pair(real=picture, fake=mix(picture, moved, mask), mask=mask)


def mix(background: Picture, source: Picture, mask: NDArray[np.float32]) -> Picture:
    """``mask`` of the source over the background, (H, W, 3) uint8."""
    import cv2

    share = cv2.merge((mask, mask, mask))
    base = background.astype(np.float32)
    return np.asarray(np.rint(base + (source.astype(np.float32) - base) * share).clip(0, 255), np.uint8)


def affine_between(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Least-squares affine map of points onto points, (2, 3)."""
    ones = np.ones((len(source), 1))
    solution, *_ = np.linalg.lstsq(np.hstack([source, ones]).astype(np.float64), target.astype(np.float64), rcond=None)
    return np.ascontiguousarray(solution.T)


def match_colour(source: Picture, target: Picture, mask: NDArray[np.float32], *, how_much: float) -> Picture:
    """Gives the source the mean and spread of the target's colours inside the mask (Reinhard et al. 2001, in Lab)."""
    import cv2

    inside = mask > 0.3 * float(mask.max())
    if np.count_nonzero(inside) < 16:
        return source
    a = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    b = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)
    from_mean, to_mean = a[inside].mean(0), b[inside].mean(0)
    ratio = ((b[inside].std(0) + 1) / (a[inside].std(0) + 1)).clip(0.5, 2)
    matched = (a - from_mean) * (1 + (ratio - 1) * how_much) + from_mean + (to_mean - from_mean) * how_much
    return np.asarray(cv2.cvtColor(matched.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def change_look(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Colour, light and sharpness, each a little."""
    import cv2

    look = picture.astype(np.float32)
    if rng.random() < 0.75:
        look += rng.uniform(-16, 16, 3).astype(np.float32) * strength
    if rng.random() < 0.75:
        gain = 1 + rng.uniform(-0.14, 0.14) * strength
        look = (look - 128) * np.float32(gain) + 128 + np.float32(rng.uniform(-14, 14) * strength)
    if rng.random() < 0.4:
        hsv = cv2.cvtColor(look.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 1] *= 1 + rng.uniform(-0.3, 0.3) * strength
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-5, 5) * strength) % 180
        look = np.asarray(cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), np.float32)
    kind = rng.random()
    if kind < 0.4:
        shrink = float(rng.uniform(0.35, 0.8))
        height, width = picture.shape[:2]
        small = cv2.resize(look, None, fx=shrink, fy=shrink, interpolation=int(rng.choice((cv2.INTER_AREA, cv2.INTER_LINEAR))))
        back = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
        look = np.asarray(cv2.resize(small, (width, height), interpolation=back), np.float32)
    elif kind < 0.65:
        soft = cv2.GaussianBlur(look, (0, 0), 1.2)
        look = look + (look - soft) * np.float32(rng.uniform(0.4, 1.2) * strength)
    return np.asarray(look.clip(0, 255), np.uint8)


def change_place(picture: Picture, points: NDArray[np.float32], rng: np.random.Generator, strength: float) -> Picture:
    """Moves and scales a face by a few hundredths of its size, and bends it slightly."""
    import cv2

    span = float(np.ptp(points, axis=0).max())
    centre_x, centre_y = points.mean(0).tolist()
    scale_x, scale_y = 1 + rng.uniform(-0.05, 0.05, 2) * strength
    shift_x, shift_y = rng.uniform(-0.035, 0.035, 2) * span * strength
    matrix = np.array(
        [[scale_x, 0, centre_x * (1 - scale_x) + shift_x], [0, scale_y, centre_y * (1 - scale_y) + shift_y]], np.float64
    )
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.4:
        bent = bend(np.asarray(moved, np.float32), rng, amount_px=0.02 * span * strength)
        moved = bent.clip(0, 255).astype(np.uint8)
    return np.asarray(moved, np.uint8)
