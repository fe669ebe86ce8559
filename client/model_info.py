"""What belongs to the weights and travels with them: the ``parameters`` of a detector's ``config.pbtxt``.

``export`` writes them, ``client`` reads them back from the running server. No other module repeats one of these values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Semantics = Literal["sequence", "reference_last_frame", "image"]
"""How the head turns frames into a clip's score.

``sequence``: an LSTM over the frames in order; permuting frames changes the score.
``reference_last_frame``: bit-faithful to the widely copied original as it was served: only the last frame counts.
``image``: each frame alone, the clip's score is their mean.
"""


DEFAULT_DETECTOR = "deepfake_detector"
"""Asked where nobody names a detector or a number of frames."""


def explainer_name(detector: str) -> str:
    """Name of the ensemble that says where a detector looked; it stands beside the detector on the same server, or is missing."""
    return "deepfake_explainer" if detector == DEFAULT_DETECTOR else f"explain_{detector}"


class ModelInfoError(ValueError):
    """A detector's parameters are missing, unreadable or contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The facts of one detector. Field names are the parameter keys; values are written as text."""

    detector: str
    """Name of the ensemble in the repository."""
    semantics: Semantics
    trained: bool
    """False for the seeded default: its scores mean nothing and every verdict is ``NOT_EVALUATED``."""
    training_data: str
    """Data the weights were fitted on, in words."""
    accuracy: float | None
    """Share of clips classified correctly in [0, 1] on ``accuracy_data``; None where nobody measured."""
    accuracy_data: str
    training_frames: tuple[int, ...]
    """Clip lengths (frames) that the weights were trained for; empty: any."""
    image_size_px: int
    """Height and width of a crop."""
    crop_margin: float
    """Side of the crop's square in the source, in multiples of the face box's longer side."""
    class_order: tuple[str, ...]
    """Meaning of the logits' last axis; export always writes ``real, fake``."""
    max_frames: int
    """Longest clip of one request: the encoder's ``max_batch_size``."""
    temperature: float
    """Divides the logits before the softmax; already applied inside the graph."""
    threshold: float
    """Scores at or above it are FAKE (outside the abstain band)."""
    abstain_low: float
    abstain_high: float
    """Scores in the open interval (abstain_low, abstain_high) are UNCERTAIN; equal bounds: no band."""
    weights_sha256: str
    """SHA-256 of the fp32 weights that every precision was made from."""
    caveat: str
    """One sentence that every report prints with the verdict; may be empty."""

    def __post_init__(self) -> None:
        if self.semantics not in get_args(Semantics):
            raise ModelInfoError(f"semantics is {self.semantics!r}; it must be one of {', '.join(get_args(Semantics))}")
        if not 0.0 <= self.abstain_low <= self.threshold <= self.abstain_high <= 1.0:
            raise ModelInfoError(
                f"abstain_low {self.abstain_low}, threshold {self.threshold}, abstain_high {self.abstain_high}: "
                "they must be in this order within [0, 1]"
            )
        if not self.temperature > 0:
            raise ModelInfoError(f"temperature is {self.temperature}; it must be above 0")
        if self.image_size_px < 1 or self.max_frames < 1:
            raise ModelInfoError(f"image_size_px {self.image_size_px}, max_frames {self.max_frames}: both must be at least 1")
        if not 1.0 <= self.crop_margin <= 4.0:
            raise ModelInfoError(f"crop_margin is {self.crop_margin}; it must be in [1, 4]")
        if self.accuracy is not None and not 0.0 <= self.accuracy <= 1.0:
            raise ModelInfoError(f"accuracy is {self.accuracy}; it must be in [0, 1]")
        if self.class_order != ("real", "fake"):
            raise ModelInfoError(f"class_order is {self.class_order}; graphs are exported as ('real', 'fake')")

    def to_parameters(self) -> dict[str, str]:
        """Text form for ``config.pbtxt``; ``from_parameters`` is its inverse."""
        return {field.name: _to_text(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "ModelInfo":
        """Reads the text form; keys of others (``profile``, backend options) are left alone.

        Raises:
            ModelInfoError: A key is missing or its value is not of its type; the message names all such keys.
        """
        missing = [field.name for field in fields(cls) if field.name not in parameters]
        if missing:
            raise ModelInfoError(
                f"the detector's parameters lack {', '.join(missing)}; build the repository again with `unmask export`"
            )
        values: dict[str, Any] = {}
        wrong: list[str] = []
        for field in fields(cls):
            try:
                values[field.name] = _PARSERS[field.name](parameters[field.name])
            except (ValueError, KeyError):
                wrong.append(f"{field.name}={parameters[field.name]!r}")
        if wrong:
            raise ModelInfoError(f"the detector's parameters cannot be read: {', '.join(wrong)}")
        return cls(**values)


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def _finite(text: str) -> float:
    number = float(text)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


_PARSERS: dict[str, Any] = {
    "detector": str,
    "semantics": str,
    "trained": {"true": True, "false": False}.__getitem__,
    "training_data": str,
    "accuracy": lambda text: _finite(text) if text else None,
    "accuracy_data": str,
    "training_frames": lambda text: tuple(int(item) for item in text.split(",") if item),
    "image_size_px": int,
    "crop_margin": _finite,
    "class_order": lambda text: tuple(text.split(",")),
    "max_frames": int,
    "temperature": _finite,
    "threshold": _finite,
    "abstain_low": _finite,
    "abstain_high": _finite,
    "weights_sha256": str,
    "caveat": str,
}
