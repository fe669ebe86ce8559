"""Where faces are in a picture: a quick look at the whole, then a close look at whatever is small or doubtful.

BlazeFace (Bazarevsky et al. 2019) as MediaPipe Tasks runs it. The short-range model sees a picture at 128x128: it is quick,
but a face of less than a fifth of the picture gets a loose box and a low score, and so do shirts and bottle tops. The
full-range model sees it at 192x192, finds smaller faces and takes more than twice as long. So:

1. short range over the whole picture;
2. short range over the surroundings of each small or doubtful find, and of each followed face that was not found: the box
   becomes as fine as that of a close-up, and what is no face loses its score;
3. full range over the whole picture, if nothing was found, if a followed face is still missing, or if a look round is due;
4. full range over overlapping tiles, if a look round is due and nothing but small faces was found in a large picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from preprocess.boxes import Box, iou

if TYPE_CHECKING:
    from preprocess.face_models import FaceModel

DETECT_LONG_SIDE_PX = 640
"""Larger pictures are scaled down for the look at the whole; a face that this makes coarse is looked at closely anyway."""
LARGE_FACE = 0.22
"""Share of the picture's shorter side from which a face found in the whole picture needs no close look."""
SURE_SCORE = 0.8
"""Nor does it with at least this score."""
CLOSE_LOOK_SIDES = 3.0
"""Side of a close look, in sides of the face's box: the model then sees the face at the size that it was made for."""
CLOSE_LOOK_PX = 256
TILE_MIN_SIDE_PX = 480
"""Shorter side of a picture from which tiles show more than the whole."""
SAME_FACE_IOU = 0.3


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
        # Here, because `python -m preprocess.face_models` must not find that module imported by its package.
        from preprocess import face_models

        self._max_faces = max_faces
        self._detectors: list[Any] = []
        self._short = self._load(face_models.SHORT_RANGE, min_confidence)
        self._full = self._load(face_models.FULL_RANGE, min_confidence)
        self.passes = {"short_range": 0, "close_look": 0, "full_range": 0, "tiles": 0}
        """How often each was done."""

    def __enter__(self) -> "FaceFinder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the detectors."""
        while self._detectors:
            self._detectors.pop().close()

    def _load(self, model: "FaceModel", min_confidence: float) -> Any:
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions

        from preprocess.face_models import weights

        detector = FaceDetector.create_from_options(
            FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=weights()[model.file_name]),
                min_detection_confidence=min_confidence,
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
        height, width = rgb.shape[:2]
        shorter = min(height, width)
        small = _shrink(rgb, DETECT_LONG_SIDE_PX)
        scale = width / small.shape[1]
        self.passes["short_range"] += 1
        faces = self._confirm(rgb, self._detect(self._short, small, scale), [])
        for box in expected:
            if not _covered(box, faces) and (face := self._close_look(rgb, box)) is not None:
                faces = _merge([*faces, face])
        if look_round or not faces or not all(_covered(box, faces) for box in expected):
            self.passes["full_range"] += 1
            faces = self._confirm(rgb, self._detect(self._full, small, scale), faces)
            if look_round and shorter >= TILE_MIN_SIDE_PX and all(face.box.side < LARGE_FACE * shorter for face in faces):
                faces = self._confirm(rgb, self._tiles(rgb), faces)
        return sorted(faces, key=lambda face: -face.box.area)[: self._max_faces]

    def _confirm(self, rgb: NDArray[np.uint8], finds: list[Face], known: list[Face]) -> list[Face]:
        """``known`` and those finds that are new and, on a close look where they need one, faces."""
        enough = LARGE_FACE * min(rgb.shape[:2])
        faces = list(known)
        for find in sorted(finds, key=lambda find: -find.score):
            if _covered(find.box, faces):
                continue
            sure = find.box.side >= enough and find.score >= SURE_SCORE
            face = find if sure else self._close_look(rgb, find.box)
            if face is not None:
                faces = _merge([*faces, face])
        return faces

    def _close_look(self, rgb: NDArray[np.uint8], box: Box) -> Face | None:
        """The face at a place, seen by the short-range model at its best size; None where there is none.

        A first look finds it. The second one has it in the middle, as it is and mirrored: their mean does not depend on
        where the first guess was, and hardly on how the file was compressed. What they do not agree on is no face.
        """
        first = self._look(rgb, box, mirrored=False)
        if first is None:
            return None
        plain, mirrored = (self._look(rgb, first.box, mirrored=mirrored) for mirrored in (False, True))
        if plain is None or mirrored is None or min(iou(plain.box, first.box), iou(mirrored.box, first.box)) < 0.5:
            return None
        middle = Box(*((a + b) / 2 for a, b in zip(plain.box, mirrored.box, strict=True)))
        return Face(middle, max(plain.score, mirrored.score), (plain.points + mirrored.points) / 2)

    def _look(self, rgb: NDArray[np.uint8], box: Box, *, mirrored: bool) -> Face | None:
        import cv2

        height, width = rgb.shape[:2]
        side = max(8, round(box.side * CLOSE_LOOK_SIDES))
        x, y = box.centre
        left, top = round(x - side / 2), round(y - side / 2)
        part = rgb[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
        if part.size == 0:
            return None
        missing = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
        if any(missing):
            part = np.asarray(cv2.copyMakeBorder(part, *missing, cv2.BORDER_CONSTANT), np.uint8)
        method = cv2.INTER_AREA if side > CLOSE_LOOK_PX else cv2.INTER_LINEAR
        close = np.asarray(cv2.resize(part, (CLOSE_LOOK_PX, CLOSE_LOOK_PX), interpolation=method), np.uint8)
        self.passes["close_look"] += 1
        if mirrored:
            close = np.ascontiguousarray(close[:, ::-1])
        faces = self._detect(self._short, close, side / CLOSE_LOOK_PX)
        if mirrored:
            faces = [_mirrored(face, side) for face in faces]
        offset = np.array([left, top], np.float32)
        faces = [Face(face.box.moved(left, top), face.score, face.points + offset) for face in faces]
        same = [face for face in faces if iou(face.box, box) > 0.15]
        return max(same, key=lambda face: face.score, default=None)

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


def _mirrored(face: Face, width: float) -> Face:
    """A face of a mirrored picture where it is in the picture itself; right and left change places."""
    box = Box(width - face.box.x1, face.box.y0, width - face.box.x0, face.box.y1)
    points = face.points[[1, 0, 2, 3, 5, 4]] * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
    return Face(box, face.score, points)


def _shrink(rgb: NDArray[np.uint8], long_side_px: int) -> NDArray[np.uint8]:
    import cv2

    height, width = rgb.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1.0:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _covered(box: Box, faces: list[Face]) -> bool:
    return any(_same(box, face.box) for face in faces)


def _same(a: Box, b: Box) -> bool:
    """One face, even if one of the boxes is the loose one of a small face."""
    return iou(a, b) >= SAME_FACE_IOU or a.holds_most_of(b) or b.holds_most_of(a)


def _merge(faces: list[Face]) -> list[Face]:
    """Each face once, the one with the higher score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not _covered(face.box, kept):
            kept.append(face)
    return kept
