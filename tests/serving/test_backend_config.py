"""Configurations are read as the C++ backends read them, and refused where they would refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.backend_config import check_accelerators, loading, openvino_properties, read_model
from serving.errors import BackendConfigError


def arguments(folder: Path, **config: Any) -> dict[str, str]:
    """What Triton hands to a Python-based backend."""
    (folder / "1").mkdir(exist_ok=True)
    (folder / "1" / "model.onnx").touch()
    whole = {"name": "m", "max_batch_size": 8, "input": [], "output": [], **config}
    return {"model_config": json.dumps(whole), "model_repository": str(folder), "model_version": "1"}


def parameters(**values: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": value} for key, value in values.items()}}


def test_openvino_keys_become_properties(tmp_path: Path) -> None:
    model = read_model(
        arguments(
            tmp_path,
            **parameters(
                HINT_BF16="YES", PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS="AUTO", INFERENCE_NUM_THREADS="4", profile="cpu"
            ),
        )
    )
    assert openvino_properties(model) == {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": "AUTO",
        "INFERENCE_NUM_THREADS": "4",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("HINT_BF16", "maybe"), ("PERFORMANCE_HINT", "FAST"), ("NUM_STREAMS", "-1"), ("INFERENCE_NUM_THREADS", "two")],
)
def test_values_that_the_cpp_backend_refuses_are_refused(tmp_path: Path, key: str, value: str) -> None:
    model = read_model(arguments(tmp_path, **parameters(**{key: value})))
    with pytest.raises(BackendConfigError, match=rf"parameter {key} is '{value}'|parameter {key} is '{value.upper()}'"):
        openvino_properties(model)


def test_unknown_accelerators_and_keys_are_refused(tmp_path: Path) -> None:
    def model(*accelerators: dict[str, Any]) -> Any:
        optimization = {"execution_accelerators": {"gpu_execution_accelerator": list(accelerators)}}
        return read_model(arguments(tmp_path, optimization=optimization))

    check_accelerators(model({"name": "tensorrt", "parameters": {"trt_engine_cache_enable": "1"}}, {"name": "cuda"}))
    with pytest.raises(BackendConfigError, match="unknown TensorRT accelerator key trt_fp17_enable"):
        check_accelerators(model({"name": "tensorrt", "parameters": {"trt_fp17_enable": "1"}}))
    with pytest.raises(BackendConfigError, match="unknown execution accelerator 'tensort'"):
        check_accelerators(model({"name": "tensort"}))


def test_a_missing_graph_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(BackendConfigError, match=r"no file 1/model\.int8\.onnx"):
        read_model(arguments(tmp_path, default_model_filename="model.int8.onnx"))


def load(engine: str, path: Path) -> None:
    """What the backend of that name does with a graph."""
    if engine == "onnxruntime":
        import onnxruntime

        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    else:
        import openvino

        openvino.Core().compile_model(str(path), "CPU")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_that_cannot_load_a_graph_is_one_line(engine: str, tmp_path: Path) -> None:
    model = read_model(arguments(tmp_path))
    model.path.write_text("not a graph")
    wanted = r"model\.onnx cannot be loaded: .+; build it again with `unmask export`$"
    with pytest.raises(BackendConfigError, match=wanted) as caught, loading(model):
        load(engine, model.path)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)
