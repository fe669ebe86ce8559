"""``config.pbtxt`` and ``configs/{cpu,gpu}.pbtxt`` of the three models of a detector, as Triton's own protobuf."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from client.model_info import ModelInfo
from export.graphs import FEATURES_NAME, FILES, FRAMES, HEAD_OUTPUTS
from export.resnext import FEATURES

ProfileName = Literal["reference", "cpu", "gpu"]
PROFILES: tuple[ProfileName, ...] = ("reference", "cpu", "gpu")
GPU_WARM_UP_FRAMES = (1, 16, 60, 100, 256)
QUEUE_REQUESTS: dict[ProfileName, int] = {"reference": 24, "cpu": 24, "gpu": 128}
"""Requests that may wait for the encoder; the next one is refused at once (UNAVAILABLE). Triton's own default is no limit: under more
load than it can carry every request waits longer than the one before it. Counted in requests, so the wait is about as many times one
request's own time on any machine; 24 is what random arrivals at 80% of the knee do not reach (docs/benchmarks.md). On a GPU a request
takes milliseconds, and bursts are what fills its queue."""
ENGINE_CACHE = "/var/cache/unmask/tensorrt"
"""Where the ``gpu`` profile keeps built engines; docker-compose.yml mounts a volume there."""
_HEAD_SHAPES = dict(zip(HEAD_OUTPUTS, ((1,), (-1,), (-1, 2)), strict=True))
_HEADER = "# Written by `unmask export`; change the code that writes it (export/model_configs.py), not this file.\n"


@dataclass(frozen=True, slots=True)
class Variant:
    """What the graphs of a detector are beside fp32 and fp16."""

    int8_encoder: bool = True
    """False where nothing was there to calibrate on: the ``cpu`` profile then runs the fp32 graph with the bf16 hint."""
    int8_head: bool = False
    """True for a wide LSTM, whose recurrent weights are then eight bits wide."""


def encoder_config(name: str, info: ModelInfo, profile: ProfileName, variant: Variant = Variant()) -> Any:
    """ResNeXt-50: the batch axis is the frame axis, so the dynamic batcher merges frames of several clips."""
    config = _model(name, profile, max_batch_size=info.max_frames)
    if profile == "cpu" and variant.int8_encoder:
        # What stays floating point in the graph runs in bf16 by the hint.
        config.default_model_filename = FILES["int8"]
        config.parameters["precision"].string_value = "int8"
    shape = (info.image_size_px, info.image_size_px, 3)
    config.input.add(name=FRAMES, data_type="TYPE_UINT8", dims=shape)
    config.output.add(name=FEATURES_NAME, data_type="TYPE_FP32", dims=(FEATURES,))
    # No delay: a batch forms while the one before it computes, and an idle server answers at once.
    config.dynamic_batching.max_queue_delay_microseconds = 0
    # Here and not at the head: it has no batcher, and gets no more requests than the encoder lets through.
    config.dynamic_batching.default_queue_policy.max_queue_size = QUEUE_REQUESTS[profile]
    if profile == "gpu":
        _add_tensorrt(config, FRAMES, shape, limit=info.max_frames)
        for frames in _warm_up_frames(info):
            _add_warm_up(config, FRAMES, "TYPE_UINT8", shape, batch=frames)
    return config


def head_config(name: str, info: ModelInfo, profile: ProfileName, variant: Variant = Variant()) -> Any:
    """The head: one clip a request; the graph adds the batch axis itself."""
    config = _model(name, profile, max_batch_size=0)
    if profile == "cpu" and variant.int8_head:
        # ONNX Runtime: it has an LSTM with eight-bit weights on the processor, OpenVINO has none.
        config.backend = "onnxruntime"
        config.default_model_filename = FILES["int8"]
        for key in ("HINT_BF16", "PERFORMANCE_HINT"):
            del config.parameters[key]
        config.parameters["precision"].string_value = "int8"
    config.input.add(name=FEATURES_NAME, data_type="TYPE_FP32", dims=(-1, FEATURES))
    add_outputs(config, _HEAD_SHAPES)
    if profile == "gpu":
        # CUDA, not TensorRT: an LSTM of dynamic length runs in cuDNN, and TensorRT would build an engine a length.
        config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
        for frames in _warm_up_frames(info):
            _add_warm_up(config, FEATURES_NAME, "TYPE_FP32", (frames, FEATURES), batch=0)
    return config


def ensemble_config(name: str, info: ModelInfo, profile: ProfileName, *, encoder: str, head: str) -> Any:
    """Encoder -> head, with the detector's facts as parameters."""
    facts = {"profile": profile, **info.to_parameters()}
    return two_steps(name, facts, info.image_size_px, first=encoder, between=FEATURES_NAME, second=head, outputs=_HEAD_SHAPES)


def two_steps(
    name: str,
    parameters: Mapping[str, str],
    image_size_px: int,
    *,
    first: str,
    between: str,
    second: str,
    outputs: Mapping[str, tuple[int, ...]],
) -> Any:
    """An ensemble: frames of a clip -> ``first`` -> the tensor ``between`` -> ``second`` -> ``outputs``, by name with their shapes."""
    config = model_config_pb2.ModelConfig(name=name, platform="ensemble", max_batch_size=0)
    add_parameters(config, parameters)
    config.input.add(name=FRAMES, data_type="TYPE_UINT8", dims=(-1, image_size_px, image_size_px, 3))
    add_outputs(config, outputs)
    for model, taken, given in ((first, (FRAMES,), (between,)), (second, (between,), outputs)):
        step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map.update({tensor: tensor for tensor in taken})
        step.output_map.update({tensor: tensor for tensor in given})
    return config


def write_profiles(model: Path, config: Callable[[ProfileName], Any]) -> None:
    """Writes a model's configuration for each profile into its folder."""
    for profile in PROFILES:
        path = model / ("config.pbtxt" if profile == "reference" else f"configs/{profile}.pbtxt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_text(config(profile)))


def to_text(config: Any) -> str:
    """Protobuf text, with maps in a fixed order so that the same detector gives the same file."""
    return _HEADER + text_format.MessageToString(config, use_short_repeated_primitives=True)


def from_text(text: str) -> Any:
    """Parses ``config.pbtxt``; raises ``google.protobuf.text_format.ParseError`` on an unknown field."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _model(name: str, profile: ProfileName, *, max_batch_size: int) -> Any:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size)
    config.backend = "openvino" if profile == "cpu" else "onnxruntime"
    config.default_model_filename = FILES["fp16" if profile == "gpu" else "fp32"]
    parameters = {"profile": profile, "precision": {"reference": "fp32", "cpu": "bf16", "gpu": "fp16"}[profile]}
    if profile == "cpu":
        # Keys of the C++ openvino backend. One stream a core or so for the encoder; the head is one short recurrence.
        parameters |= {"HINT_BF16": "YES", "PERFORMANCE_HINT": "THROUGHPUT" if max_batch_size else "LATENCY"}
    add_parameters(config, parameters)
    config.instance_group.add(kind="KIND_GPU" if profile == "gpu" else "KIND_CPU", count=1)
    return config


def add_parameters(config: Any, parameters: Mapping[str, str]) -> None:
    """Adds text parameters."""
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def add_outputs(config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Adds float outputs, by name with their shapes."""
    for name, dims in shapes.items():
        config.output.add(name=name, data_type="TYPE_FP32", dims=dims)


def _add_tensorrt(config: Any, tensor: str, shape: tuple[int, ...], *, limit: int) -> None:
    """TensorRT with one profile over all lengths: without it each new length would build an engine, in minutes.

    The graph itself is FP16: TensorRT 11 has no builder flag for it.
    """
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    size = "x".join(str(length) for length in shape)
    parameters = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINE_CACHE,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": ENGINE_CACHE,
        "trt_profile_min_shapes": f"{tensor}:1x{size}",
        "trt_profile_opt_shapes": f"{tensor}:{min(64, limit)}x{size}",
        "trt_profile_max_shapes": f"{tensor}:{limit}x{size}",
    }
    for key, value in parameters.items():
        accelerator.parameters[key] = value


def _warm_up_frames(info: ModelInfo) -> list[int]:
    return sorted({min(frames, info.max_frames) for frames in GPU_WARM_UP_FRAMES})


def _add_warm_up(config: Any, tensor: str, data_type: str, dims: tuple[int, ...], *, batch: int) -> None:
    warm_up = config.model_warmup.add(name=f"T{batch or dims[0]}", batch_size=batch)
    warm_up.inputs[tensor].data_type = model_config_pb2.DataType.Value(data_type)
    warm_up.inputs[tensor].dims.extend(dims)
    warm_up.inputs[tensor].zero_data = True
