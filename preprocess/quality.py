"""How usable a face's crop is, in numbers, and the reason when it is not."""

import math

import numpy as np
from numpy.typing import NDArray

from preprocess.faces import Face
from preprocess.settings import PreprocessSettings

MEASURES = ("face_px", "sharpness", "exposure", "yaw_deg")
"""``face_px``: longer side of the box in source pixels. ``sharpness``: variance of the Laplacian of the grey crop (Pech-
Pacheco et al. 2000), in squared grey levels. ``exposure``: mean grey level, 0 to 255. ``yaw_deg``: estimated turn of the
head, 0 from the front, positive towards the person's left."""


def measure(crop: NDArray[np.uint8], face: Face) -> dict[str, float]:
    """All ``MEASURES`` of one crop, (S, S, 3) uint8 RGB."""
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return {
        "face_px": face.box.side,
        "sharpness": float(deviation[0, 0]) ** 2,
        "exposure": float(cv2.mean(grey)[0]),
        "yaw_deg": yaw_deg(face.points),
    }


def yaw_deg(points: NDArray[np.float32]) -> float:
    """Turn of the head from how far the nose tip is off the middle between the ears, against half their distance.

    On a head of radius r the ears stand at +-r cos(yaw) and the nose tip at about r sin(yaw); an estimate to 10 degrees.
    """
    nose, right_ear, left_ear = (points[i].astype(np.float64) for i in (2, 4, 5))
    across = left_ear - right_ear
    span = math.hypot(*across)
    if span < 1e-6:
        return 90.0
    offset = float((nose - (left_ear + right_ear) / 2) @ across) / span
    return math.degrees(math.atan2(offset, span / 2))


def reason_to_drop(measures: dict[str, float], settings: PreprocessSettings) -> str | None:
    """Why a crop is not used, or None."""
    if measures["face_px"] < settings.min_face_px:
        return "face_too_small"
    if measures["exposure"] < settings.min_exposure:
        return "face_too_dark"
    if measures["sharpness"] < settings.min_sharpness:
        return "face_too_blurry"
    return None
