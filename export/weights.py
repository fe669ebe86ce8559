"""The weights that ship: ``weights/<name>.safetensors`` (fp16) with their facts beside them in ``<name>.json``."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from client.model_info import ModelInfo, ModelInfoError
from export.default_detector import weights_sha256
from export.detector import FrameEncoder, SequenceHead
from export.errors import ExportError
from export.resnext import ResNeXt50

NAME = "deepfake_detector"


class WeightsError(ExportError):
    """Shipped weights cannot be read, or contradict their facts."""


def default_weights() -> Path:
    """``weights/deepfake_detector.safetensors`` of the checkout that this package lies in; it need not exist."""
    return Path(__file__).resolve().parent.parent / "weights" / f"{NAME}.safetensors"


def save_weights(path: Path, encoder: FrameEncoder, head: SequenceHead, info: ModelInfo) -> ModelInfo:
    """Writes both files; returns the facts with the sum of the weights as they will be read (fp16 -> fp32).

    Raises:
        WeightsError: They cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {f"{part}.{name}": value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
               for part, module in (("encoder", encoder), ("head", head)) for name, value in module.state_dict().items()}  # fmt: skip
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in tensors.items()}, partial)
        rounded = _built({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
        facts = asdict(info) | {"weights_sha256": weights_sha256(*rounded)}
        partial.replace(path)
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or error}; free some room or name another folder"
        ) from error
    return _info(facts, path)


def load_weights(path: Path) -> tuple[FrameEncoder, SequenceHead, ModelInfo]:
    """Networks in evaluation mode, fp32, and their facts.

    Raises:
        WeightsError: A file is missing or damaged, or the weights are not those that the facts were written for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} and its .json cannot be read: {error}; get both again") from error
    info = _info(facts, path)
    try:
        encoder, head = _built({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} is not a ResNeXt-50 with an LSTM head: {error}") from error
    found = weights_sha256(encoder, head)
    if found != info.weights_sha256:
        raise WeightsError(
            f"{path} has SHA-256 {found}, its facts were written for {info.weights_sha256}; get both files again"
        )
    return encoder, head, info


def _built(tensors: dict[str, torch.Tensor]) -> tuple[FrameEncoder, SequenceHead]:
    with torch.random.fork_rng():
        encoder = FrameEncoder(ResNeXt50())
        head = SequenceHead(hidden_size=tensors["head.lstm.weight_hh_l0"].shape[1])
    encoder.load_state_dict(
        {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
    )
    head.load_state_dict({name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")})
    return encoder.eval(), head.eval()


def _info(facts: dict[str, Any], path: Path) -> ModelInfo:
    names = {field.name for field in fields(ModelInfo)}
    try:
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in facts.items() if name in names
        }
        return ModelInfo(**known)
    except (TypeError, AttributeError, ModelInfoError) as error:
        raise WeightsError(f"{path.with_suffix('.json')} does not hold the facts of a detector: {error}") from error
