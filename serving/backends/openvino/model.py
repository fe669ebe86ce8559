"""Triton's ``openvino`` backend in Python: the same configuration keys, with micro-batches over several streams."""

from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils

from serving.backend_config import check_tensors, loading, micro_batch_frames, openvino_properties, read_model
from serving.micro_batch import cut, gather, leaves_streams_idle, scatter
from serving.stall import StallWatch, answer_only_if_awake


class TritonPythonModel:
    """One model; Triton calls these methods by name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compiles the graph and, for a batching model, computes every micro-batch length once, so that no request waits
        for kernels to be made."""
        model = read_model(args)
        core = ov.Core()
        properties = openvino_properties(model)
        with loading(model):
            compiled = core.compile_model(str(model.path), "CPU", properties)
        self.batching = model.max_batch_size > 0
        self.input = model.inputs[0].name
        check_tensors(
            model,
            inputs=[port.names for port in compiled.inputs],
            outputs=[port.names for port in compiled.outputs],
        )
        # A port's own `index` counts within its node; results are fetched by position among the graph's outputs.
        positions = {name: position for position, port in enumerate(compiled.outputs) for name in port.names}
        self.outputs = [(tensor.name, positions[tensor.name]) for tensor in model.outputs]
        self.streams = int(compiled.get_property("NUM_STREAMS"))
        # One request more than streams keeps a stream fed while the callback of another one runs.
        self.queue = ov.AsyncInferQueue(compiled, self.streams + 1 if self.batching else 1)
        self.request = compiled.create_infer_request()
        self.all_threads: Any = None
        if self.batching:
            self.limit = micro_batch_frames()
            self._prepare_short_clips(core, model, properties)
            self.queue.set_callback(self._collect)
            port = compiled.input(self.input)
            frame = _row_shape(port)
            for length in range(1, self.limit + 1):
                for _ in range(self.streams):
                    self.queue.start_async([np.zeros((length, *frame), port.element_type.to_dtype())], None)
            self.queue.wait_all()
        # Last: loading a model may well take all cores for a while.
        self.stalls = StallWatch()

    def _prepare_short_clips(self, core: Any, model: Any, properties: dict[str, str]) -> None:
        """A second network that puts all threads to one batch: a stream has only its share of them, and clips of a frame or three leave
        the other streams idle."""
        if self.streams == 1:
            return
        for_all = {key: value for key, value in properties.items() if key != "NUM_STREAMS"} | {"PERFORMANCE_HINT": "LATENCY"}
        self.all_threads = core.compile_model(str(model.path), "CPU", for_all).create_infer_request()
        port = self.all_threads.model_inputs[0]
        for length in range(1, self.limit + 1):
            if leaves_streams_idle(length, limit=self.limit, streams=self.streams):
                self.all_threads.infer([np.zeros((length, *_row_shape(port)), port.element_type.to_dtype())])

    def _collect(self, request: Any, destination: Any) -> None:
        if destination is None:
            return
        results, pieces, _ = destination
        for (_, index), arrays in zip(self.outputs, results, strict=True):
            scatter(arrays, pieces, request.get_output_tensor(index).data)

    @answer_only_if_awake
    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        arrays = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        if not self.batching:
            return [self._run_whole(array) for array in arrays]
        results = [self._allocate(index, arrays) for _, index in self.outputs]
        lengths = [len(array) for array in arrays]
        if self.all_threads is not None and leaves_streams_idle(sum(lengths), limit=self.limit, streams=self.streams):
            (pieces,) = cut(lengths, limit=self.limit, streams=1)
            frames = gather(arrays, pieces)
            self.all_threads.infer([frames], share_inputs=True)
            self._collect(self.all_threads, (results, pieces, frames))
            return self._respond(results, len(arrays))
        try:
            for pieces in cut(lengths, limit=self.limit, streams=self.streams):
                # The queue takes the address of the frames and not a reference: a copy that `gather` made would be freed, and computed
                # on, at once. What is handed on to the callback lives until then.
                frames = gather(arrays, pieces)
                self.queue.start_async([frames], (results, pieces, frames), share_inputs=True)
        finally:
            self.queue.wait_all()
        return self._respond(results, len(arrays))

    def _respond(self, results: list[list[Any]], count: int) -> list[Any]:
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, result[number]) for (name, _), result in zip(self.outputs, results, strict=True)]
            )
            for number in range(count)
        ]

    def _allocate(self, index: int, arrays: list[Any]) -> list[Any]:
        port = self.request.model_outputs[index]
        row = _row_shape(port)
        return [np.empty((len(array), *row), port.element_type.to_dtype()) for array in arrays]

    def _run_whole(self, array: Any) -> Any:
        self.request.infer([array], share_inputs=True)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, self.request.get_output_tensor(index).data) for name, index in self.outputs]
        )

    def finalize(self) -> None:
        """Waits for what is still being computed."""
        self.queue.wait_all()


def _row_shape(port: Any) -> list[int]:
    """Dimensions after the first, which is the dynamic number of frames."""
    return [dimension.get_length() for dimension in list(port.partial_shape)[1:]]
