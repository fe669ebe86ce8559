"""Reads a model's configuration as Triton's C++ backends read it, and refuses what they would refuse.

Used by the two Python-based backends, which hand over the JSON form of ``config.pbtxt`` that Triton gives them.
Keys and legal values are those of the openvino and onnxruntime backends' own documentation.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import BackendConfigError

# TensorRT accelerator keys of the C++ onnxruntime backend; a key outside this list is a load error there.
TENSORRT_KEYS = frozenset(
    """precision_mode max_workspace_size_bytes int8_calibration_table_name int8_use_native_calibration_table
    trt_max_partition_iterations trt_min_subgraph_size trt_dla_enable trt_dla_core trt_engine_cache_enable
    trt_engine_cache_path trt_engine_cache_prefix trt_dump_subgraphs trt_force_sequential_engine_build
    trt_context_memory_sharing_enable trt_layer_norm_fp32_fallback trt_timing_cache_enable trt_timing_cache_path
    trt_force_timing_cache trt_detailed_build_log trt_build_heuristics_enable trt_sparsity_enable
    trt_builder_optimization_level trt_auxiliary_streams trt_tactic_sources trt_extra_plugin_lib_paths
    trt_profile_min_shapes trt_profile_max_shapes trt_profile_opt_shapes trt_cuda_graph_enable
    trt_dump_ep_context_model trt_ep_context_file_path trt_ep_context_embed_mode""".split()
)

MICRO_BATCH_VARIABLE = "UNMASK_SERVING_MICRO_BATCH_FRAMES"
STREAMS_VARIABLE = "UNMASK_SERVING_STREAMS"
THREADS_VARIABLE = "UNMASK_SERVING_THREADS"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model."""

    name: str
    data_type: str
    """Triton's name, such as ``TYPE_FP32``."""


@dataclass(frozen=True, slots=True)
class BackendModel:
    """What both backends need of a model's configuration."""

    name: str
    path: Path
    """The graph's file."""
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: dict[str, str]
    accelerators: tuple[dict[str, Any], ...]
    graph_level: int


def read_model(arguments: dict[str, str]) -> BackendModel:
    """The configuration that Triton hands to ``TritonPythonModel.initialize``.

    Raises:
        BackendConfigError: The graph's file is not there.
    """
    config = json.loads(arguments["model_config"])
    filename = config.get("default_model_filename") or "model.onnx"
    path = Path(arguments["model_repository"]) / arguments["model_version"] / filename
    if not path.is_file():
        raise BackendConfigError(
            f"model {config['name']} has no file {path.parent.name}/{filename}; build the repository with `unmask export`"
        )
    optimization = config.get("optimization", {})
    accelerators = optimization.get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    return BackendModel(
        name=config["name"],
        path=path,
        max_batch_size=config.get("max_batch_size", 0),
        inputs=tuple(Tensor(entry["name"], entry["data_type"]) for entry in config["input"]),
        outputs=tuple(Tensor(entry["name"], entry["data_type"]) for entry in config["output"]),
        parameters={key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()},
        accelerators=tuple(accelerators),
        graph_level=int(optimization.get("graph", {}).get("level", 0)),
    )


@contextlib.contextmanager
def loading(model: BackendModel) -> Iterator[None]:
    """Around an engine's reading of the graph: whatever it raises becomes one line that names the file and the remedy.

    Raises:
        BackendConfigError: The engine cannot load the file.
    """
    try:
        yield
    except Exception as error:  # each engine has classes of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # OpenVINO puts the places in its sources, and the checks that failed there, in front of the reason.
        telling = [line for line in lines if not line.startswith(("Exception from ", "Check '")) and not line.endswith(":")]
        raise BackendConfigError(
            f"{model.path} cannot be loaded: {(telling or lines)[0].rstrip('.')}; build it again with `unmask export`"
        ) from None


def check_tensors(model: BackendModel, *, inputs: Sequence[Set[str]], outputs: Sequence[Set[str]]) -> None:
    """The configuration and the graph must name the same inputs, and the graph must have every configured output.

    Args:
        model: The configuration.
        inputs: For each input of the graph the names it goes by (OpenVINO gives a tensor several).
        outputs: The same of the outputs.

    Raises:
        BackendConfigError: They do not agree; the message names both sides.
    """
    for kind, tensors, found in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        configured = {tensor.name for tensor in tensors}
        missing = configured - set().union(*found)
        surplus = [names for names in found if not names & configured] if kind == "inputs" else []
        if missing or surplus:
            raise BackendConfigError(
                f"model {model.name}: config.pbtxt has {kind} {sorted(configured)}, {model.path.name} has "
                f"{sorted(min(names) for names in found)}"
            )


def whole_number(model: BackendModel, key: str) -> int | None:
    """A parameter that must be a non-negative whole number; None where it is absent or empty."""
    text = model.parameters.get(key, "")
    if not text:
        return None
    if not text.isdecimal():
        raise BackendConfigError(f"model {model.name}: parameter {key} is {text!r}; it must be a non-negative whole number")
    return int(text)


def openvino_properties(model: BackendModel) -> dict[str, str]:
    """OpenVINO properties from the parameters that the C++ openvino backend knows, and the launcher's overrides.

    Raises:
        BackendConfigError: A value that the C++ backend would refuse.
    """
    properties: dict[str, str] = {}
    for key in ("INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS"):
        if (number := whole_number(model, key)) is not None:
            properties[key] = str(number)
    if hint := model.parameters.get("PERFORMANCE_HINT", "").upper():
        if hint not in ("THROUGHPUT", "LATENCY", "CUMULATIVE_THROUGHPUT"):
            raise BackendConfigError(
                f"model {model.name}: parameter PERFORMANCE_HINT is {hint!r}; it must be THROUGHPUT, LATENCY or "
                "CUMULATIVE_THROUGHPUT"
            )
        properties["PERFORMANCE_HINT"] = hint
    if bf16 := model.parameters.get("HINT_BF16", "").upper():
        if bf16 not in ("YES", "NO"):
            raise BackendConfigError(f"model {model.name}: parameter HINT_BF16 is {bf16!r}; it must be YES or NO")
        properties["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 == "YES" else "f32"
    if streams := model.parameters.get("NUM_STREAMS", "").upper():
        if streams not in ("AUTO", "NUMA") and not streams.isdecimal():
            raise BackendConfigError(
                f"model {model.name}: parameter NUM_STREAMS is {streams!r}; it must be AUTO, NUMA or a non-negative whole number"
            )
        properties["NUM_STREAMS"] = streams
    if model.max_batch_size > 0:
        if streams := os.environ.get(STREAMS_VARIABLE, ""):
            properties["NUM_STREAMS"] = streams
        if threads := os.environ.get(THREADS_VARIABLE, ""):
            properties["INFERENCE_NUM_THREADS"] = threads
    return properties


def check_accelerators(model: BackendModel) -> None:
    """Accelerators of the onnxruntime backend must be known, and their keys documented.

    Raises:
        BackendConfigError: An unknown accelerator, or an unknown TensorRT key.
    """
    for accelerator in model.accelerators:
        name = accelerator.get("name")
        if name not in ("tensorrt", "cuda"):
            raise BackendConfigError(f"model {model.name}: unknown execution accelerator {name!r}; known: tensorrt, cuda")
        if name == "tensorrt" and (unknown := set(accelerator.get("parameters", {})) - TENSORRT_KEYS):
            raise BackendConfigError(f"model {model.name}: unknown TensorRT accelerator key {', '.join(sorted(unknown))}")


def micro_batch_frames() -> int:
    """The launcher's micro-batch setting."""
    return int(os.environ[MICRO_BATCH_VARIABLE])
