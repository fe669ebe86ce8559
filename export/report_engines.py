"""The engines that the parity report puts side by side, behind one interface: frames in, features, logits and probability out."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.detector import ClipHead
from export.graphs import FEATURES_NAME, FILES, FRAMES, HEAD_OUTPUTS, Precision
from export.load import Loaded
from export.repository import Written

Frames = NDArray[np.uint8]
Array = NDArray[np.float32]
MICRO_BATCH = 16
"""Frames that a bare engine computes at a time, as the served one does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a detector says of one clip."""

    features: Array
    logits: Array
    probability: float


Run = Callable[[Frames], Answer]


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to run a detector, ready to be asked."""

    name: str
    precision: str
    size_bytes: int
    """Of the graphs; of the parameters in PyTorch."""
    load_s: float
    run: Run
    time_run: Callable[[Frames], None]
    """Frames in, probability out, as it is served: without the features in between."""


@contextlib.contextmanager
def engines(loaded: Loaded, written: Written) -> Iterator[Iterator[Engine]]:
    """Each engine in turn; one at a time is alive, so that none computes beside another."""
    with contextlib.ExitStack() as stack:
        yield _all(loaded, written, stack)


def _all(loaded: Loaded, written: Written, stack: contextlib.ExitStack) -> Iterator[Engine]:
    yield _pytorch(loaded)
    encoder, head = (_latest(written.repository / model) for model in written.models[:2])
    for precision in ("fp32", "fp16", "int8"):
        if (encoder / FILES[precision]).is_file():
            yield _onnxruntime(encoder, head, precision)
    yield _openvino(encoder, head, "fp32", "f32")
    yield _openvino(encoder, head, "fp32", "bf16")
    if (encoder / FILES["int8"]).is_file():
        yield _openvino(encoder, head, "int8", "bf16")
    for profile in ("reference", "cpu"):
        with contextlib.ExitStack() as server:
            yield _triton(written, loaded, profile, server)
    stack.close()


def _latest(model: Path) -> Path:
    return max((path for path in model.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name))


def _pytorch(loaded: Loaded) -> Engine:
    started = time.perf_counter()
    encoder, head = loaded.encoder, ClipHead(loaded.head, temperature=loaded.info.temperature).eval()

    def run(frames: Frames) -> Answer:
        with torch.inference_mode():
            features = encoder(torch.from_numpy(frames))
            clip, _, logits = head(features)
        return Answer(features.numpy(), logits.numpy(), float(clip[0]))

    size = sum(value.numel() * value.element_size() for module in (encoder, head) for value in module.state_dict().values())
    return Engine("PyTorch", "fp32", size, time.perf_counter() - started, run, _discard(run))


def _discard(run: Run) -> Callable[[Frames], None]:
    def call(frames: Frames) -> None:
        run(frames)

    return call


def _head_file(head: Path, precision: Precision) -> Path:
    # A narrow LSTM has no INT8 file: the profile runs its fp32 graph with the bf16 hint.
    return head / FILES[precision if (head / FILES[precision]).is_file() else "fp32"]


def _onnxruntime(encoder: Path, head: Path, precision: Precision) -> Engine:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    started = time.perf_counter()
    files = (encoder / FILES[precision], _head_file(head, precision))
    first, second = (ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]) for file in files)
    load_s = time.perf_counter() - started

    def run(frames: Frames) -> Answer:
        parts = [first.run([FEATURES_NAME], {FRAMES: part})[0] for part in _cut(frames)]
        features = np.concatenate(parts)
        clip, _, logits = second.run(list(HEAD_OUTPUTS), {FEATURES_NAME: features})
        return Answer(features, logits, float(clip[0]))

    return Engine("ONNX Runtime", precision, _size(files), load_s, run, _discard(run))


def _openvino(encoder: Path, head: Path, precision: Precision, hint: str) -> Engine:
    import openvino as ov

    core = ov.Core()
    started = time.perf_counter()
    wide = precision == "int8" and (head / FILES["int8"]).is_file()
    files = (encoder / FILES[precision], head / FILES["int8" if wide else "fp32"])
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
    first = core.compile_model(str(files[0]), "CPU", options)
    queue = ov.AsyncInferQueue(first, int(first.get_property("NUM_STREAMS")) + 1)
    second: Callable[[Array], list[Array]]
    if wide:
        # As the cpu profile does: OpenVINO has no LSTM with eight-bit weights.
        import onnxruntime as ort

        session = ort.InferenceSession(str(files[1]), providers=["CPUExecutionProvider"])

        def second(features: Array) -> list[Array]:
            found: list[Array] = session.run(list(HEAD_OUTPUTS), {FEATURES_NAME: features})
            return found
    else:
        compiled = core.compile_model(str(files[1]), "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint})
        request = compiled.create_infer_request()

        def second(features: Array) -> list[Array]:
            request.infer([features])
            return [np.array(request.get_tensor(name).data) for name in HEAD_OUTPUTS]

    load_s = time.perf_counter() - started

    def run(frames: Frames) -> Answer:
        parts = list(_cut(frames))
        found: list[Array] = [np.empty(0, np.float32)] * len(parts)
        queue.set_callback(lambda done, index: found.__setitem__(index, done.get_output_tensor(0).data.copy()))
        for index, part in enumerate(parts):
            queue.start_async([part], index)
        queue.wait_all()
        features = np.concatenate(found)
        clip, _, logits = second(features)
        return Answer(features, logits, float(clip[0]))

    name = "bf16" if precision == "fp32" and hint == "bf16" else precision
    return Engine("OpenVINO", name, _size(files), load_s, run, _discard(run))


def _triton(written: Written, loaded: Loaded, profile: str, stack: contextlib.ExitStack) -> Engine:
    import tritonclient.grpc as triton

    from serving.launcher import EmbeddedTriton
    from serving.settings import ServingSettings

    settings = ServingSettings.model_validate(
        {"model_repository": written.repository, "profile": profile, "grpc_port": 0, "http_port": 0, "metrics_port": 0}
    )
    started = time.perf_counter()
    server = stack.enter_context(EmbeddedTriton(settings))
    load_s = time.perf_counter() - started
    client = stack.enter_context(triton.InferenceServerClient(server.grpc_url))
    live = [client.get_model_config(model, as_json=True)["config"] for model in written.models[:2]]
    precision = "+".join(dict.fromkeys(config["parameters"]["precision"]["string_value"] for config in live))
    files = [
        _latest(written.repository / model) / config["default_model_filename"]
        for model, config in zip(written.models[:2], live, strict=True)
    ]

    def ask(model: str, name: str, value: Any, data_type: str, outputs: tuple[str, ...]) -> list[Array]:
        tensor = triton.InferInput(name, value.shape, data_type)
        tensor.set_data_from_numpy(value)
        answer = client.infer(model, [tensor], client_timeout=300.0)
        return [answer.as_numpy(output) for output in outputs]

    def run(frames: Frames) -> Answer:
        (features,) = ask(written.models[0], FRAMES, frames, "UINT8", (FEATURES_NAME,))
        clip, logits = ask(loaded.info.detector, FRAMES, frames, "UINT8", (HEAD_OUTPUTS[0], HEAD_OUTPUTS[2]))
        return Answer(features, logits, float(clip[0]))

    def time_run(frames: Frames) -> None:
        ask(loaded.info.detector, FRAMES, frames, "UINT8", HEAD_OUTPUTS)

    return Engine(f"Triton, {profile}", precision, _size(tuple(files)), load_s, run, time_run)


def _cut(frames: Frames) -> list[Frames]:
    return np.array_split(frames, -(-len(frames) // MICRO_BATCH))


def _size(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files)
