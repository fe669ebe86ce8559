"""Where faces are in a picture: BlazeFace short range first, more only when that does not explain what is expected.

BlazeFace (Bazarevsky et al. 2019) as MediaPipe Tasks runs it. The short-range model sees a whole picture at 128x128 and
finds faces from about a tenth of its width; the full-range one sees it at 192x192 and takes more than twice as long. So:

1. short range over the whole picture;
2. full range too, if nothing was found, if a followed face is not among what was found, or if a look round is due;
3. full range over overlapping tiles, if a look round is due and the picture is large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess import face_models
from preprocess.boxes import Box, iou

DETECT_LONG_SIDE_PX = 960
"""Larger pictures are scaled down before detection: MediaPipe gives boxes in whole pixels, so much smaller would be coarse."""
TILE_MIN_SIDE_PX = 480
"""Shorter side of a picture from which tiles show more than the whole."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in source pixels."""

    box: Box
    score: float
    """Detector's confidence in [0, 1]."""
    points: NDArray[np.float32]
    """(6, 2) x, y: right eye, left eye, nose tip, mouth centre, right ear, left ear (the person's right and left)."""


class FaceFinder:
    """Both detectors, loaded once. Belongs to one thread; close it, or use it as a context manager.

    Raises:
        FaceModelMissingError: Set-up has not been run.
    """

    def __init__(self, *, min_confidence: float, max_faces: int) -> None:
        self._max_faces = max_faces
        self._detectors: list[Any] = []
        self._short = self._load(face_models.SHORT_RANGE, min_confidence)
        self._full = self._load(face_models.FULL_RANGE, min_confidence)
        self.passes = {"short_range": 0, "full_range": 0, "tiles": 0}

    def __enter__(self) -> "FaceFinder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the detectors."""
        while self._detectors:
            self._detectors.pop().close()

    def _load(self, model: face_models.FaceModel, min_confidence: float) -> Any:
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions

        detector = FaceDetector.create_from_options(
            FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=face_models.load(model)), min_detection_confidence=min_confidence
            )
        )
        self._detectors.append(detector)
        return detector

    def find(self, rgb: NDArray[np.uint8], *, expected: Sequence[Box] = (), look_round: bool = False) -> list[Face]:
        """Faces of an upright picture, largest first.

        Args:
            rgb: (H, W, 3) uint8 RGB, contiguous.
            expected: Where followed faces should be; the second pass runs when one of them is not found.
            look_round: Search for small and new faces, too.
        """
        import cv2

        height, width = rgb.shape[:2]
        scale = min(1.0, DETECT_LONG_SIDE_PX / max(height, width))
        small = rgb
        if scale < 1.0:
            small = np.asarray(
                cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA), np.uint8
            )
        self.passes["short_range"] += 1
        faces = self._detect(self._short, small, width / small.shape[1])
        if look_round or not faces or any(all(iou(box, face.box) < 0.2 for face in faces) for box in expected):
            self.passes["full_range"] += 1
            faces = _merge([*faces, *self._detect(self._full, small, width / small.shape[1])])
            if look_round and min(height, width) >= TILE_MIN_SIDE_PX:
                faces = _merge([*faces, *self._tiles(rgb)])
        return sorted(faces, key=lambda face: -face.box.area)[: self._max_faces]

    def _tiles(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Full range over squares that cover the picture and overlap by a third, so that a face lies whole in one."""
        height, width = rgb.shape[:2]
        side = max(TILE_MIN_SIDE_PX * 2 // 3, min(height, width) * 2 // 3)
        found: list[Face] = []
        for top in _starts(height, side):
            for left in _starts(width, side):
                self.passes["tiles"] += 1
                tile = np.ascontiguousarray(rgb[top : top + side, left : left + side])
                for face in self._detect(self._full, tile, 1.0):
                    # Cut by an inner edge, it is whole in the neighbour.
                    box = face.box
                    cut = (
                        (box.x0 <= 1 and left > 0)
                        or (box.y0 <= 1 and top > 0)
                        or (box.x1 >= side - 1 and left + side < width)
                        or (box.y1 >= side - 1 and top + side < height)
                    )
                    if not cut:
                        offset = np.array([left, top], np.float32)
                        found.append(Face(box.moved(left, top), face.score, face.points + offset))
        return found

    def _detect(self, detector: Any, rgb: NDArray[np.uint8], scale: float) -> list[Face]:
        import mediapipe

        height, width = rgb.shape[:2]
        result = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb))
        faces = []
        for detection in result.detections:
            origin = detection.bounding_box
            box = Box(
                origin.origin_x * scale,
                origin.origin_y * scale,
                (origin.origin_x + origin.width) * scale,
                (origin.origin_y + origin.height) * scale,
            )
            points = np.array(
                [(point.x * width * scale, point.y * height * scale) for point in detection.keypoints], np.float32
            )
            if box.area > 0 and points.shape == (6, 2):
                faces.append(Face(box, float(detection.categories[0].score), points))
        return faces


def _starts(length: int, side: int) -> list[int]:
    """Evenly spread starts of spans of ``side`` that cover ``length`` and overlap by at least a third."""
    if length <= side:
        return [0]
    count = 1 + -(-(length - side) * 3 // (side * 2))
    return [round(position * (length - side) / (count - 1)) for position in range(count)] if count > 1 else [0]


def _merge(faces: list[Face]) -> list[Face]:
    """Each face once: earlier finds win, because the short-range model's box is the finer one."""
    kept: list[Face] = []
    for face in faces:
        if all(iou(face.box, other.box) < 0.3 and not other.box.holds_most_of(face.box) for other in kept):
            kept.append(face)
    return kept
