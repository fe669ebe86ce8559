"""``config.pbtxt`` and ``configs/{cpu,gpu}.pbtxt`` of an explainer's three models. All compute in fp32, in every profile."""

from typing import Any

from tritonclient.grpc import model_config_pb2

from client.model_info import ModelInfo
from export.gradient_graph import EXPLAINER_OUTPUTS, MAPS, map_side
from export.graphs import FILES, FRAMES
from export.model_configs import ProfileName, add_outputs, add_parameters, two_steps
from export.resnext import FEATURES

QUEUE_REQUESTS = 8
"""Requests that may wait; people ask for maps one at a time, and a crowd of them must not starve the detector."""


def maps_config(name: str, info: ModelInfo, profile: ProfileName) -> Any:
    """The encoder's fp32 graph, asked for its feature maps; the batch axis is the frame axis."""
    config = _model(name, profile, max_batch_size=info.max_frames)
    side = map_side(info.image_size_px)
    config.input.add(name=FRAMES, data_type="TYPE_UINT8", dims=(info.image_size_px, info.image_size_px, 3))
    config.output.add(name=MAPS, data_type="TYPE_FP32", dims=(FEATURES, side, side))
    config.dynamic_batching.max_queue_delay_microseconds = 0
    config.dynamic_batching.default_queue_policy.max_queue_size = QUEUE_REQUESTS
    if profile == "gpu":
        config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
    config.instance_group.add(kind="KIND_GPU" if profile == "gpu" else "KIND_CPU", count=1)
    return config


def gradient_config(name: str, info: ModelInfo, profile: ProfileName) -> Any:
    """Scores, gradient and maps of one clip. On the processor in every profile: a recurrence of small steps is no work for a GPU."""
    config = _model(name, profile, max_batch_size=0)
    side = map_side(info.image_size_px)
    config.input.add(name=MAPS, data_type="TYPE_FP32", dims=(-1, FEATURES, side, side))
    add_outputs(config, _outputs(side))
    # Steps of a millisecond: handing each to several threads costs more than they save.
    config.parameters["intra_op_thread_count"].string_value = "1"
    config.instance_group.add(kind="KIND_CPU", count=1)
    return config


def explainer_config(name: str, info: ModelInfo, profile: ProfileName, *, maps: str, gradient: str) -> Any:
    """Maps -> gradient. Its parameters say whom it explains; they are not a detector's, so that nobody takes it for one."""
    facts = {"profile": profile, "explains": info.detector, "weights_sha256": info.weights_sha256}
    outputs = _outputs(map_side(info.image_size_px))
    return two_steps(name, facts, info.image_size_px, first=maps, between=MAPS, second=gradient, outputs=outputs)


def _model(name: str, profile: ProfileName, *, max_batch_size: int) -> Any:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size, backend="onnxruntime")
    config.default_model_filename = FILES["fp32"]
    add_parameters(config, {"profile": profile, "precision": "fp32"})
    return config


def _outputs(side: int) -> dict[str, tuple[int, ...]]:
    return dict(zip(EXPLAINER_OUTPUTS, ((1,), (-1,), (-1, 2), (-1, side, side), (-1, side, side)), strict=True))
