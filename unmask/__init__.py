"""Unmask: serves ResNeXt-50 + LSTM deepfake detectors and says what they know.

The names a user of the library needs are re-exported here and imported on first use, because the areas behind
them pull in gRPC, OpenCV and MediaPipe:

    from unmask import Detector
    verdict = Detector("localhost:8001").detect("clip.mp4")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client import Detector, Verdict
    from preprocess import Clip

__version__ = "0.1.0"
__all__ = ["Clip", "Detector", "Verdict", "__version__"]

_HOMES = {"Detector": "client", "Verdict": "client", "Clip": "preprocess"}


def __getattr__(name: str) -> Any:
    """Imports a public name from its area on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
