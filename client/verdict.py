"""What the product says of one file, with everything that it rests on. Its JSON form is ``verdict.schema.json``."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from client.model_info import ModelInfo
from preprocess import Dropped, SourceFacts

SCHEMA_VERSION = "1.0"
"""Of the JSON form: the first number changes when a reader of the old form would misread the new one."""

Label = Literal["FAKE", "REAL", "UNCERTAIN", "NOT_EVALUATED"]
Reason = Literal[
    "no_face", "face_too_small", "face_too_blurry", "face_too_dark", "no_usable_face", "too_few_frames", "untrained_model"
]
"""Why nothing is claimed.

``no_face``: no face, or next to none, in the sampled frames. ``face_too_small``, ``face_too_blurry``, ``face_too_dark``,
``no_usable_face``: faces were seen, and most often this (or something else) excluded them. ``too_few_frames``: no person was
seen often enough. ``untrained_model``: there are scores, of weights that were never trained.
"""


class VerdictError(ValueError):
    """A verdict contradicts itself, or a document is no verdict of this schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """The detector as it was live when it answered."""

    info: ModelInfo
    version: str
    """Triton's version of the ensemble."""
    profile: str
    """Configuration that computed the scores: ``reference``, ``cpu``, ``gpu``; several are joined with ``+``."""
    precision: str
    """Of the weights in use, such as ``fp32`` or ``int8``; several are joined with ``+``."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScore:
    """One face crop that the model saw."""

    frame_index: int
    timestamp_s: float
    box_px: tuple[float, float, float, float]
    """Face in upright source pixels: x0, y0, x1, y1."""
    score: float
    """Probability of fake in [0, 1]. With the ``sequence`` head: of the clip up to and with this frame."""
    detector_score: float
    """Face detector's confidence in [0, 1]."""
    quality: dict[str, float]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackVerdict:
    """One person followed through the file."""

    track_id: int
    """0 is the dominant one."""
    label: Label
    reason: Reason | None
    score: float | None
    """Probability of fake in [0, 1], after temperature; None where the track was not scored."""
    frames: tuple[FrameScore, ...]
    """Empty where the track was not scored."""
    frame_count: int
    """Face crops of this person among the sampled frames."""
    start_s: float
    end_s: float

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How the crops were made: with the same file and these, the same scores come out."""

    frames_requested: int
    frames_sampled: int
    image_size_px: int
    crop_margin: float
    versions: dict[str, str]
    """Of the packages that decode, find faces and crop."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of one file.

    Raises:
        VerdictError: Label, reason and score contradict each other, or the score is not in [0, 1].
    """

    schema_version: str = SCHEMA_VERSION
    label: Label
    reason: Reason | None
    """Set if and only if the label is NOT_EVALUATED."""
    score: float | None
    """Probability of fake in [0, 1], after temperature: that of the worst track; None where nothing was scored."""
    threshold: float
    abstain_low: float
    abstain_high: float
    deciding_track: int | None
    """``track_id`` of the worst track; None where nothing was scored."""
    model: ServedModel
    source: SourceFacts
    source_sha256: str | None
    """Of the file's bytes, so that a report can be tied to a file; None where the file was not at hand any more."""
    preprocessing: Preprocessing
    tracks: tuple[TrackVerdict, ...]
    dropped: tuple[Dropped, ...]
    """Sampled frames that no track holds, and why."""
    notes: tuple[str, ...]
    stage_s: dict[str, float]
    """Seconds by stage; ``total`` is the wall time from path to verdict."""
    created_at: str
    """UTC, ISO 8601."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.label not in get_args(Label):
            raise VerdictError(f"label is {self.label!r}; it must be one of {', '.join(get_args(Label))}")
        if (self.label == "NOT_EVALUATED") != (self.reason is not None):
            raise VerdictError(f"label {self.label} with reason {self.reason!r}; NOT_EVALUATED, and it alone, has a reason")
        if self.label != "NOT_EVALUATED" and self.score is None:
            raise VerdictError(f"label {self.label} without a score; only NOT_EVALUATED may have none")
        if (self.score is None) != (self.deciding_track is None):
            raise VerdictError(f"score {self.score} with deciding_track {self.deciding_track}; both or neither")
        if self.score is not None and not (math.isfinite(self.score) and 0.0 <= self.score <= 1.0):
            raise VerdictError(f"score is {self.score}; it must be in [0, 1]")
        if self.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise VerdictError(f"schema_version is {self.schema_version}; this version reads {SCHEMA_VERSION}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, of plain lists, dicts, strings and numbers; ``from_dict`` is its inverse."""
        document = _adapter().dump_python(self, mode="json")
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Verdict":
        """Reads the JSON form; unknown keys are refused.

        Raises:
            VerdictError: The document is no verdict of this schema; the message names the fields.
        """
        try:
            return _adapter().validate_python(dict(document))
        except ValidationError as error:
            fields = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
            raise VerdictError(f"this is no verdict of schema {SCHEMA_VERSION}: {fields}") from error


def verdict_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every ``Verdict.to_dict()`` keeps."""
    schema = json.loads(Path(__file__).with_name("verdict.schema.json").read_text("utf-8"))
    assert isinstance(schema, dict)
    return schema


@cache
def _adapter() -> TypeAdapter[Verdict]:
    return TypeAdapter(Verdict)
