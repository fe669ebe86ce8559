"""The configurations in git: Triton's protobuf reads them, and they say what the graphs are."""

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import pytest
from tritonclient.grpc import model_config_pb2

from client.model_info import ModelInfo, explainer_name
from export.explainer import models_of, write_explainer_configs
from export.graphs import FILES
from export.model_configs import PROFILES, from_text
from export.repository import write_configs
from serving.backend_config import TENSORRT_KEYS
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "model_repository").glob("*/config.pbtxt")) + sorted(
    (ROOT / "model_repository").glob("*/configs/*.pbtxt")
)
TYPES: dict[int, str] = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}


def read(path: Path) -> Any:
    return from_text(path.read_text())


def facts(config: Any) -> ModelInfo:
    return ModelInfo.from_parameters({key: value.string_value for key, value in config.parameters.items()})


def test_each_model_has_each_profile() -> None:
    for model in ("frame_encoder", "clip_head", "deepfake_detector", *models_of("deepfake_detector")):
        found = {path.stem: path for path in CONFIGS if model in path.parts}
        assert set(found) == {"config", "cpu", "gpu"}
        for stem, path in found.items():
            profile = "reference" if stem == "config" else stem
            assert read(path).parameters["profile"].string_value == profile


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: "/".join(path.parts[-3:]))
def test_a_configuration_agrees_with_its_graph(path: Path, repository: Path) -> None:
    config = read(path)
    if config.platform == "ensemble":
        assert not config.instance_group, "an ensemble may not have one"
        assert not config.model_warmup, "an ensemble may not have one"
        assert config.max_batch_size == 0
        explains = config.parameters["explains"].string_value
        assert explainer_name(explains) == config.name if explains else facts(config).detector == config.name
        return
    assert config.default_model_filename in FILES.values()
    graph = onnx.load(repository / config.name / "1" / config.default_model_filename, load_external_data=False).graph
    for configured, found in ((config.input, graph.input), (config.output, graph.output)):
        tensors = {value.name: value.type.tensor_type for value in found}
        # The encoder's graph has the feature maps, too; its configuration leaves them to the explainer.
        assert {tensor.name for tensor in configured} == set(tensors) - (
            {"MAPS", "FEATURES"} - {item.name for item in configured}
        )
        for tensor in configured:
            value = tensors[tensor.name]
            assert model_config_pb2.DataType.Name(tensor.data_type) == TYPES[value.elem_type]
            dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.shape.dim]
            batch = [-1] if config.max_batch_size else []
            assert dims == [*batch, *tensor.dims]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: "/".join(path.parts[-3:]))
def test_accelerators_use_documented_keys_only(path: Path) -> None:
    for accelerator in read(path).optimization.execution_accelerators.gpu_execution_accelerator:
        assert accelerator.name in ("tensorrt", "cuda")
        if accelerator.name == "tensorrt":
            assert set(accelerator.parameters) <= TENSORRT_KEYS
            assert {"trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes"} <= set(accelerator.parameters)


def test_the_files_in_git_are_what_export_writes(tmp_path: Path) -> None:
    info = facts(read(ROOT / "model_repository" / "deepfake_detector" / "config.pbtxt"))
    write_configs(tmp_path, info)
    write_explainer_configs(tmp_path, info)
    for path in CONFIGS:
        assert path.read_text() == (tmp_path / path.relative_to(ROOT / "model_repository")).read_text(), path


def test_every_profile_carries_the_same_facts() -> None:
    read_facts = {facts(read(path)) for path in CONFIGS if "deepfake_detector" in path.parts}
    assert len(read_facts) == 1
    assert len(PROFILES) == 3


def test_facts_survive_the_way_through_text() -> None:
    info = facts(read(CONFIGS[1]))
    for changed in (
        info,
        dataclasses.replace(info, accuracy=0.9342, training_frames=(10, 60), caveat='a "quoted" caveat, ünï'),
    ):
        assert ModelInfo.from_parameters(changed.to_parameters()) == changed
