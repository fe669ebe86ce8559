"""What is known of a checkpoint beside its tensors: from flags, from our metadata, from the file's name, in this order.

The name is the one that users of the reference project know: ``model_<accuracy>_acc_<frames>_frames_<dataset>_data.pt``. What
matters and cannot be known (which of the two outputs means fake) is asked for and never guessed.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from client.model_info import ModelInfo, ModelInfoError, Semantics
from export.errors import FactError
from export.layouts import Layout

MAX_FRAMES = 256
"""Longest clip of one request unless a flag says otherwise."""
_FILE_NAME = re.compile(r"model_(?P<accuracy>[^_]+)_acc_(?P<frames>[^_]+)_frames_(?P<data>.+?)_data$", re.IGNORECASE)
_NAME_REMEDY = "rename the file, or overrule its name with --accuracy and --trained-frames"
_TAKEN = ("frame_encoder", "clip_head", "deepfake_explainer", "explain_")
_CLASSES: dict[str, tuple[str, str]] = {"real,fake": ("real", "fake"), "fake,real": ("fake", "real")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the caller says; None: not said."""

    name: str | None = None
    """Of the detector."""
    semantics: Semantics | None = None
    classes: str | None = None
    """``real,fake`` or ``fake,real``: the checkpoint's outputs in order."""
    image_size_px: int | None = None
    crop_margin: float | None = None
    frames: tuple[int, ...] | None = None
    """Clip lengths that the weights were trained for."""
    accuracy: float | None = None
    """Share in [0, 1]."""
    data: str | None = None
    """Data that the accuracy was measured on, and the weights trained on where nothing else says."""
    max_frames: int | None = None
    temperature: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a file's name says."""

    accuracy: float
    frames: int
    data: str


def read_name(path: Path) -> NameFacts | None:
    """Facts in the file's name; None where it is not of that form.

    Raises:
        FactError: It is of that form and says something impossible.
    """
    match = _FILE_NAME.match(path.stem)
    if match is None:
        return None
    try:
        accuracy = float(match["accuracy"])
        frames = int(match["frames"])
    except ValueError:
        raise FactError(
            f"the name {path.name} has accuracy {match['accuracy']!r} and frames {match['frames']!r}, which are no numbers; "
            f"{_NAME_REMEDY}"
        ) from None
    # A whole number is a percentage (84); one with a decimal point may be either (97.76, 0.9776).
    share = accuracy if "." in match["accuracy"] and accuracy <= 1 else accuracy / 100
    if not 0 < share <= 1:
        raise FactError(
            f"the name {path.name} claims an accuracy of {match['accuracy']}; it must be in (0, 100]; {_NAME_REMEDY}"
        )
    if not 1 <= frames <= 100_000:
        raise FactError(f"the name {path.name} claims {frames} frames; it must be 1 to 100000; {_NAME_REMEDY}")
    return NameFacts(accuracy=share, frames=frames, data=match["data"])


def class_order(path: Path, flags: Flags, metadata: dict[str, str], layout: Layout) -> tuple[str, str]:
    """Meaning of the checkpoint's two outputs.

    Raises:
        FactError: Nobody says, or the flag and the metadata contradict each other.
    """
    given = flags.classes.replace(" ", "").lower() if flags.classes else None
    if given is not None and given not in _CLASSES:
        raise FactError(f"--classes is {flags.classes!r}; it must be real,fake or fake,real")
    stored = metadata.get("class_order") if layout == "unmask" else None
    if stored is not None and given is not None and stored != given:
        raise FactError(f"{path} says that its classes are {stored}, --classes says {given}; leave the flag out")
    order = given or stored
    if order is None or order not in _CLASSES:
        hint = "; image-only ResNeXt-50 checkpoints usually have real,fake" if layout == "image" else ""
        raise FactError(
            f"{path} does not say which of its two outputs means fake, and a guess could turn every verdict around: give "
            f"--classes real,fake or --classes fake,real (forks of the reference project use both{hint})"
        )
    return _CLASSES[order]


def model_info(
    path: Path, flags: Flags, metadata: dict[str, str], *, layout: Layout, semantics: Semantics, weights_sha256: str
) -> ModelInfo:
    """The facts of a detector.

    Raises:
        FactError: The file's name, the metadata and the flags contradict each other or claim something impossible.
    """
    stored = _stored(path, metadata) if layout == "unmask" else {}
    try:
        said = read_name(path)
    except FactError:
        if flags.accuracy is None or flags.frames is None:
            raise
        said = None  # overruled
    accuracy = _one(path, "accuracy", flags.accuracy, stored.get("accuracy"), said.accuracy if said else None)
    named_frames = (said.frames,) if said else None
    frames = _one(path, "training_frames", flags.frames, stored.get("training_frames"), named_frames)
    max_frames = flags.max_frames or stored.get("max_frames") or MAX_FRAMES
    data = flags.data or (said.data if said else "")
    if frames and max(frames) > max_frames:
        raise FactError(
            f"{path} was trained for {max(frames)} frames, one request takes {max_frames}; raise it with --max-frames"
        )
    defaults: dict[str, Any] = {
        "trained": True,
        "training_data": data or "not stated",
        "accuracy_data": data,
        # The reference crops the face box itself; the image-only family has four times the pixels.
        "image_size_px": 224 if layout == "image" else 112,
        "crop_margin": 1.0,
        "temperature": 1.0,
        "threshold": 0.5,
        "abstain_low": 0.5,
        "abstain_high": 0.5,
        "caveat": "These weights came from elsewhere; what they were trained and measured on is their maker's word.",
    }
    given = {
        "image_size_px": flags.image_size_px,
        "crop_margin": flags.crop_margin,
        "temperature": flags.temperature,
        "accuracy_data": flags.data,
    }
    values = defaults | stored | {key: value for key, value in given.items() if value is not None}
    if flags.threshold is not None:
        # A threshold that somebody moves leaves the fitted band behind.
        values |= {"threshold": flags.threshold, "abstain_low": flags.threshold, "abstain_high": flags.threshold}
    values |= {
        "detector": flags.name or stored.get("detector") or slug(path),
        "semantics": semantics,
        "accuracy": accuracy,
        "training_frames": frames or (),
        "class_order": ("real", "fake"),
        "max_frames": max_frames,
        "weights_sha256": weights_sha256,
    }
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", values["detector"]):
        raise FactError(
            f"the detector's name is {values['detector']!r}; it must be 1 to 128 letters, digits, _, - or . (--name chooses another)"
        )
    if values["detector"].startswith(_TAKEN):
        raise FactError(
            f"the detector's name is {values['detector']!r}; names that begin with {', '.join(_TAKEN)} are those of a detector's parts "
            "(--name chooses another)"
        )
    try:
        return ModelInfo(**values)
    except ModelInfoError as error:
        raise FactError(f"{path}: {error}") from error


def slug(path: Path) -> str:
    """A detector's name from a file's: ``model_97_acc_100_frames_FF_data.pt`` -> ``model_97_acc_100_frames_ff_data``."""
    return re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "detector"


def _stored(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    names = {field.name for field in fields(ModelInfo)}
    if not names & metadata.keys():
        return {}
    try:
        info = ModelInfo.from_parameters(metadata | {"class_order": "real,fake", "weights_sha256": ""})
    except ModelInfoError as error:
        raise FactError(f"the metadata of {path} cannot be used: {error}") from error
    return {name: getattr(info, name) for name in names}


def _one(path: Path, what: str, flag: Any, stored: Any, said: Any) -> Any:
    """The flag decides; without one, what the file says inside and in its name must agree."""
    if flag is not None:
        return flag
    if stored and said and stored != said:
        raise FactError(
            f"{path.name} claims {what} {said} in its name and {stored} in its metadata; one of them lies: rename the file, or "
            f"say which with --{'trained-frames' if what == 'training_frames' else what}"
        )
    return stored or said
