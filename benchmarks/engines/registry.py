"""Engines by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.engines.base import Engine, graph_files, require_file, weights_of
from benchmarks.errors import UsageError

_Maker = Callable[[Path, int, Path | None], Engine]


def _torch(variant: Any, device: str = "cpu") -> _Maker:
    def build(repository: Path, threads: int, checkpoint: Path | None) -> Engine:
        from benchmarks.engines.torch_engine import TorchEngine

        return TorchEngine(variant, weights_of(repository), checkpoint=checkpoint, device=device, threads=threads)

    return build


def _onnxruntime(precision: str, provider: str, profile: str) -> _Maker:
    def build(repository: Path, threads: int, _checkpoint: Path | None) -> Engine:
        from benchmarks.engines.onnxruntime_engine import OnnxRuntimeEngine

        files = graph_files(repository, profile)
        return OnnxRuntimeEngine(files.encoder, files.head, precision=precision, provider=provider, threads=threads)

    return build


def _openvino(precision: str) -> _Maker:
    def build(repository: Path, threads: int, _checkpoint: Path | None) -> Engine:
        from benchmarks.engines.openvino_engine import OpenVinoEngine

        files = graph_files(repository, "cpu")
        encoder = require_file(files.encoder.with_name("model.int8.onnx" if precision == "int8" else "model.onnx"))
        # A head with eight-bit weights is for ONNX Runtime; OpenVINO takes the fp32 graph.
        head = require_file(files.head.with_name("model.onnx"))
        return OpenVinoEngine(encoder, head, precision=precision, threads=threads)

    return build


ENGINES: dict[str, _Maker] = {
    "torch-eager": _torch("eager"),
    "torch-channels-last": _torch("channels-last"),
    "torch-bf16": _torch("bf16"),
    "torch-compile": _torch("compile"),
    "torch-cuda-eager": _torch("eager", "cuda"),
    "torch-cuda-bf16": _torch("bf16", "cuda"),
    "onnxruntime-fp32": _onnxruntime("fp32", "CPUExecutionProvider", "reference"),
    "onnxruntime-cuda-fp16": _onnxruntime("fp16", "CUDAExecutionProvider", "gpu"),
    "openvino-fp32": _openvino("fp32"),
    "openvino-bf16": _openvino("bf16"),
    "openvino-int8": _openvino("int8"),
}
"""In the order of the table; PyTorch eager is what the others are compared with."""


def engines_of(machine: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of those that can be expected to run on a machine (``machine_facts``): CUDA's only where there is a GPU."""
    return tuple(name for name in ENGINES if "-cuda-" not in name or machine["gpus"])


def make(name: str, repository: Path, *, threads: int = 0, checkpoint: Path | None = None) -> Engine:
    """Loads an engine.

    Args:
        name: One of ``ENGINES``.
        repository: Model repository whose default detector it runs.
        threads: Processor threads; 0 takes all.
        checkpoint: What PyTorch loads, where the detector is neither the shipped one nor the seeded one.

    Raises:
        UsageError: There is no engine of this name.
        EngineUnavailable: It cannot run here.
    """
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    return ENGINES[name](repository, threads, checkpoint)
