"""The pipeline of the widely copied reference projects, written from its description, for a comparison on the same file.

Each request loads the weights, takes the first frames of the video, runs dlib's HOG face detector on every one of them, twice (once for
the pictures that it shows, once for the network), crops without a margin, and computes the network in PyTorch eager, fp32.

``face_recognition.face_locations(frame)``, which those projects call, is dlib's frontal face detector with one doubling of the
picture; it is called here directly, because the package of models that `face_recognition` insists on needs pkg_resources, which setuptools
no longer has.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import EngineUnavailable

UPSAMPLE = 1
"""The default of ``face_recognition.face_locations``."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(slots=True)
class Judged:
    """What one request gave and cost."""

    score: float
    faces: int
    """Frames with a face."""
    stage_s: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """All stages, as served: both detection passes."""
        return sum(self.stage_s.values())

    @property
    def single_pass_s(self) -> float:
        """Without what the second detection pass costs."""
        return self.total_s - self.stage_s.get("decode, pass 2", 0.0) - self.stage_s.get("detect, pass 2", 0.0)


class ReferencePipeline:
    """Holds what the served original holds between two requests: nothing but the detector and the path of the weights."""

    def __init__(self, weights: Path, *, image_size_px: int = 112) -> None:
        try:
            import dlib
        except ImportError as error:
            raise EngineUnavailable(
                f"dlib cannot be imported ({error}); install it with `pip install 'unmask[reference]'`"
            ) from None
        self._weights, self._size_px = weights, image_size_px
        self._detector = dlib.get_frontal_face_detector()

    def judge(self, video: Path, *, frames: int, passes: int = 2) -> Judged:
        """One request.

        Raises:
            EngineUnavailable: The video cannot be read by OpenCV.
        """
        import torch

        judged = Judged(0.0, 0)
        found: Sequence[bool] = ()
        with _stage(judged, "load weights"):
            encoder, head = load_weights(self._weights)
        crops: Sequence[NDArray[np.uint8]] = ()
        for number in range(1, passes + 1):
            with _stage(judged, f"decode, pass {number}"):
                pictures = first_frames(video, frames)
            if not pictures:
                raise EngineUnavailable(f"OpenCV reads no frame of {video}; the reference pipeline cannot be measured on it")
            with _stage(judged, f"detect, pass {number}"):
                crops, found = zip(*(self._crop(picture) for picture in pictures), strict=True)
        with _stage(judged, "network"), torch.inference_mode():
            judged.score = network_score(encoder, head, np.stack(crops))
        judged.faces = sum(found)
        return judged

    def _crop(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
        import cv2

        faces = self._detector(picture, UPSAMPLE)
        if faces:
            face = faces[0]
            picture = picture[max(face.top(), 0) : face.bottom(), max(face.left(), 0) : face.right()]
        # Without a face they hand on the whole frame.
        resized: Any = cv2.resize(picture, (self._size_px, self._size_px))
        return resized, bool(faces)


def first_frames(video: Path, frames: int) -> list[NDArray[np.uint8]]:
    """The first frames, (H, W, 3) uint8 RGB each."""
    import cv2

    capture = cv2.VideoCapture(str(video))
    pictures: list[NDArray[np.uint8]] = []
    try:
        while len(pictures) < frames:
            read, picture = capture.read()
            if not read:
                break
            rgb: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            pictures.append(rgb)
    finally:
        capture.release()
    return pictures


def save_weights(path: Path, served_sha256: str) -> bool:
    """Writes a checkpoint: the served weights where they are the shipped or the seeded ones, else the shipped ones.

    Returns:
        Whether they are what is served.
    """
    import torch

    from export.default_detector import default_detector, detector_of

    found = detector_of(served_sha256)
    encoder, head = (found or default_detector())[:2]
    torch.save({"encoder": encoder.state_dict(), "head": head.state_dict()}, path)
    return found is not None


def load_weights(path: Path) -> tuple[Any, Any]:
    """Builds the modules and loads a checkpoint into them, as each request of the original does."""
    import torch

    from export.detector import FrameEncoder, SequenceHead
    from export.resnext import ResNeXt50

    state = torch.load(path, weights_only=True)
    encoder, head = FrameEncoder(ResNeXt50()), SequenceHead(state["head"]["linear1.weight"].shape[1])
    encoder.load_state_dict(state["encoder"], strict=False)  # mean and std are constants, not weights
    head.load_state_dict(state["head"])
    return encoder.eval(), head.eval()


def network_score(encoder: Any, head: Any, crops: NDArray[np.uint8]) -> float:
    """PyTorch eager over (T, 112, 112, 3) uint8 RGB: the clip's probability of fake."""
    import torch

    with torch.inference_mode():
        logits = head(encoder(torch.from_numpy(crops)))
        return float(torch.softmax(logits.mean(0), 0)[1])


@contextmanager
def _stage(judged: Judged, name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        judged.stage_s[name] = judged.stage_s.get(name, 0.0) + time.perf_counter() - start
