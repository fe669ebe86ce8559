"""Face-mesh points where only the detector's six are known: a mean face, laid over them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_KEYPOINTS = ((33, 133, 159, 145), (263, 362, 386, 374), (1, 4), (13, 14), (234,), (454,))
"""Mesh points whose mean stands where the detector puts right eye, left eye, nose tip, mouth centre, right ear, left ear."""


def keypoints_of(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mesh points (478, 2) -> the detector's (6, 2)."""
    return np.asarray(np.stack([points[list(indices)].mean(0) for indices in _KEYPOINTS]), np.float32)


def mean_face(meshes: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean of meshes (478, 2), each centred and scaled to unit size first: how ``data/mean_face.npy`` was made."""
    total, count = np.zeros((478, 2)), 0
    for points in meshes:
        centred = points - points.mean(0)
        total += centred / np.ptp(centred, axis=0).max()
        count += 1
    return np.asarray(total / max(count, 1), np.float32)


def default_mean_face() -> NDArray[np.float32]:
    """The mean of the portraits that the shipped weights were trained on, (478, 2), centred and of unit size."""
    return np.asarray(np.load(Path(__file__).with_name("data") / "mean_face.npy", allow_pickle=False), np.float32)


def laid_over(mean: NDArray[np.float32], keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean face by a least-squares affine map onto the detector's keypoints, (478, 2).

    Good for the outline of a face, which is what blending masks are made of, not for expressions.
    """
    from training.fakes.blend import affine_between

    matrix = affine_between(keypoints_of(mean), keypoints)
    return np.asarray(mean @ matrix[:, :2].T + matrix[:, 2], np.float32)
