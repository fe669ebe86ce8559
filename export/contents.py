"""What lies in a repository: which detectors, made of which models, and by what hash the same model is known again."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from client.model_info import ModelInfo, ModelInfoError
from export.errors import RepositoryError

if TYPE_CHECKING:
    from torch import nn

CONTENT_FILE = "content.json"
"""Inside a version folder; Triton does not look at it."""
_MAKERS = ("detector", "graphs", "gradient_graph", "resnext", "quantize", "model_configs", "explainer_configs")
"""Modules of this package whose change may change what is written."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One detector of a repository."""

    info: ModelInfo
    version: int
    """The highest version folder of its ensemble; 0 where it was never built."""
    models: tuple[str, ...]
    """Its composing models, encoder first."""


@cache
def makers_digest() -> str:
    """Hash of the code and libraries that make graphs out of weights."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent
    for name in _MAKERS:
        digest.update((folder / f"{name}.py").read_bytes())
    for package in ("torch", "onnx", "onnxruntime"):
        digest.update(version(package).encode())
    return digest.hexdigest()


def weights_sha256(*modules: "nn.Module") -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def content_sha256(module: "nn.Module", **facts: object) -> str:
    """Hash of all that a model's files are made from."""
    text = json.dumps([makers_digest(), weights_sha256(module), facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def detectors(repository: Path) -> list[Installed]:
    """The detectors of a repository, by name.

    Raises:
        RepositoryError: A configuration cannot be read.
    """
    found = []
    for path in sorted(repository.glob("*/config.pbtxt")):
        config = _config(path)
        if not config.ensemble_scheduling.step:
            continue
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        if "semantics" not in parameters:
            continue  # an ensemble of somebody else
        try:
            info = ModelInfo.from_parameters(parameters)
        except ModelInfoError as error:
            raise RepositoryError(f"{path}: {error}") from error
        models = tuple(step.model_name for step in config.ensemble_scheduling.step)
        found.append(Installed(info, latest_version(path.parent), models))
    return found


def users(repository: Path, model: str) -> list[str]:
    """Detectors that are made of a composing model."""
    return [installed.info.detector for installed in detectors(repository) if model in installed.models]


def latest_version(model: Path) -> int:
    """Highest version folder of a model; 0 without one."""
    return max((int(part.name) for part in model.glob("[0-9]*") if part.name.isdecimal() and part.is_dir()), default=0)


def content_of(model: Path) -> str:
    """The hash that ``write_content`` left; empty for an unbuilt model or one of somebody else."""
    try:
        document = json.loads((model / str(latest_version(model)) / CONTENT_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(document.get("sha256", "")) if isinstance(document, dict) else ""


def write_content(version_folder: Path, sha256: str, **facts: object) -> None:
    """Records what a version folder was made from."""
    (version_folder / CONTENT_FILE).write_text(json.dumps({"sha256": sha256, **facts}, indent=1) + "\n", encoding="utf-8")


def models_with(repository: Path, prefix: str) -> Iterable[tuple[str, str]]:
    """Built composing models whose name begins with ``prefix``, and their content hashes."""
    for path in sorted(repository.glob(f"{prefix}*/config.pbtxt")):
        if sha256 := content_of(path.parent):
            yield path.parent.name, sha256


def _config(path: Path) -> Any:
    try:
        return text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RepositoryError(f"{path} cannot be read as a Triton configuration: {error}") from error
