"""Frames to measure with. What they show does not matter to speed; noise keeps anything on the way from being clever."""

import numpy as np
from numpy.typing import NDArray

MAX_FRAMES = 256


def noise_clip(frames: int, *, image_size_px: int = 112, seed: int = 0) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8, seeded."""
    return np.random.default_rng(seed).integers(0, 256, (frames, image_size_px, image_size_px, 3), dtype=np.uint8)
