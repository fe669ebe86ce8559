"""Triton's ``onnxruntime`` backend in Python: the same configuration keys and accelerators, on the engines that are installed."""

from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from serving.backend_config import check_accelerators, check_tensors, loading, micro_batch_frames, read_model, whole_number
from serving.errors import BackendConfigError
from serving.micro_batch import cut, gather, scatter
from serving.stall import StallWatch, answer_only_if_awake

_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class TritonPythonModel:
    """One model; Triton calls these methods by name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the session that the configuration asks for."""
        model = read_model(args)
        check_accelerators(model)
        options = ort.SessionOptions()
        if model.graph_level not in _LEVELS:
            raise BackendConfigError(f"model {model.name}: graph level is {model.graph_level}; it must be -1, 0, 1 or 2")
        options.graph_optimization_level = _LEVELS[model.graph_level]
        options.intra_op_num_threads = whole_number(model, "intra_op_thread_count") or 0
        options.inter_op_num_threads = whole_number(model, "inter_op_thread_count") or 0
        providers = _providers(model)
        with loading(model):
            self.session = ort.InferenceSession(str(model.path), options, providers=providers)
        self.batching = model.max_batch_size > 0
        self.limit = micro_batch_frames()
        self.input = model.inputs[0].name
        self.outputs = [tensor.name for tensor in model.outputs]
        check_tensors(
            model,
            inputs=[{value.name} for value in self.session.get_inputs()],
            outputs=[{value.name} for value in self.session.get_outputs()],
        )
        # Last: loading a model may well take all cores for a while.
        self.stalls = StallWatch()

    @answer_only_if_awake
    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        arrays = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        if not self.batching:
            results = [self.session.run(self.outputs, {self.input: array}) for array in arrays]
        else:
            results = self._run_batched(arrays)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in zip(self.outputs, values, strict=True)])
            for values in results
        ]

    def _run_batched(self, arrays: list[Any]) -> list[list[Any]]:
        results: list[list[Any]] | None = None
        for pieces in cut([len(array) for array in arrays], limit=self.limit, streams=1):
            values = self.session.run(self.outputs, {self.input: gather(arrays, pieces)})
            if results is None:
                results = [[np.empty((len(array), *value.shape[1:]), value.dtype) for value in values] for array in arrays]
            for index, value in enumerate(values):
                scatter([result[index] for result in results], pieces, value)
        assert results is not None, "Triton never executes an empty batch"
        return results


def _providers(model: Any) -> list[Any]:
    """Execution providers in order of preference; TensorRT falls back to CUDA, and no further: a GPU profile that quietly ran
    on the processor would be a wrong answer about speed."""
    if not model.accelerators:
        return ["CPUExecutionProvider"]
    available = set(ort.get_available_providers())
    wanted: list[Any] = []
    for accelerator in model.accelerators:
        if accelerator["name"] == "tensorrt" and "TensorrtExecutionProvider" in available:
            options = {key: value for key, value in accelerator.get("parameters", {}).items() if key.startswith("trt_")}
            wanted.append(("TensorrtExecutionProvider", options))
    if "CUDAExecutionProvider" in available:
        wanted.append("CUDAExecutionProvider")
    if not wanted:
        raise BackendConfigError(
            f"model {model.name} asks for a GPU, and this onnxruntime has none ({', '.join(sorted(available))}); "
            "install onnxruntime-gpu, or choose the profile cpu or reference"
        )
    return [*wanted, "CPUExecutionProvider"]
