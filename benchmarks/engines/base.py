"""What an engine does, and where its graphs lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import EngineUnavailable

ENCODER, HEAD = "frame_encoder", "clip_head"


class Engine(Protocol):
    """A detector that is loaded and ready."""

    name: str
    precision: str
    """Of the encoder's matrix products: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
    size_bytes: int
    """Weights on disk, or in memory for PyTorch."""

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 RGB -> logits of each frame (T, 2)."""

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 RGB -> features (T, 2048); the convolutional part alone."""

    def tune(self, frames: int) -> dict[str, Any]:
        """Takes the fastest way of working at this clip length; says which it is. Called before measuring."""

    def close(self) -> None:
        """Lets go of memory and threads."""


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """The two graphs of one profile, as its configuration names them."""

    encoder: Path
    head: Path
    encoder_parameters: dict[str, str]
    head_parameters: dict[str, str]


def graph_files(repository: Path, profile: str) -> GraphFiles:
    """The graphs that Triton would open for a profile.

    Raises:
        EngineUnavailable: The repository is not built, or has no such profile.
    """
    found = {model: _read(repository, model, profile) for model in (ENCODER, HEAD)}
    return GraphFiles(found[ENCODER][0], found[HEAD][0], found[ENCODER][1], found[HEAD][1])


def require_file(path: Path) -> Path:
    """The path, if there is a file.

    Raises:
        EngineUnavailable: There is none.
    """
    if not path.is_file():
        raise EngineUnavailable(f"there is no {path}; build the repository with `unmask export`")
    return path


def weights_of(repository: Path) -> str:
    """SHA-256 of the weights that a repository's default detector says it has.

    Raises:
        EngineUnavailable: There is no such detector.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    path = require_file(repository / "deepfake_detector" / "config.pbtxt")
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    return str(config.parameters["weights_sha256"].string_value)


def _read(repository: Path, model: str, profile: str) -> tuple[Path, dict[str, str]]:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    folder = repository / model
    path = folder / "config.pbtxt" if profile == "reference" else folder / "configs" / f"{profile}.pbtxt"
    config = text_format.Parse(require_file(path).read_text(), model_config_pb2.ModelConfig())
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    versions = sorted((int(part.name) for part in folder.iterdir() if part.name.isdecimal()), reverse=True)
    # Triton's default policy serves the highest version.
    file = folder / str(versions[0] if versions else 1) / (config.default_model_filename or "model.onnx")
    return require_file(file), parameters
