"""INT8 graphs: static QDQ for the encoder, dynamic for the recurrent weights of a wide LSTM.

ONNX Runtime's own quantizer writes both. NNCF was measured beside it: 3% faster and 0.00005 closer in cosine, for twice the time
and a dozen packages. Weights are symmetric per output channel, activations unsigned after each ReLU, sums included, so that an
engine fuses convolution, sum and ReLU in eight bits.
"""

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, TensorData, TensorsData, quantize_dynamic
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

from export.gradient_graph import without_maps
from export.graphs import FEATURES_NAME, FRAMES

Crops = NDArray[np.uint8]
"""(N, H, W, 3) uint8 RGB."""
Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each tensor over the calibration crops."""

WIDE_LSTM = 1024
"""From this hidden size on, the recurrent weights fall out of a processor's second-level cache and eight bits pay; below it bf16
on OpenVINO is as fast."""
_OPERATORS = ("Conv", "Add", "Relu")
_BATCH = 8
_BLOCK = re.compile(r"/backbone/(layer\d/layer\d\.\d+|conv1)")


class _Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    def __init__(self, crops: Crops) -> None:
        self._batches: Iterator[Crops] = iter(np.array_split(crops, max(1, len(crops) // _BATCH)))

    def get_next(self) -> dict[str, Crops] | None:
        batch = next(self._batches, None)
        return None if batch is None else {FRAMES: batch}


def measure_ranges(graph: Path, crops: Crops) -> dict[str, tuple[float, float]]:
    """Range of every activation that can be quantised, rounded to six digits so that a file of them is the same everywhere."""
    with tempfile.TemporaryDirectory(prefix="unmask-int8-") as folder:
        calibrator = create_calibrator(
            str(graph), list(_OPERATORS), str(Path(folder) / "augmented.onnx"), calibrate_method=CalibrationMethod.MinMax
        )
        calibrator.collect_data(_Reader(crops))
        found = calibrator.compute_data()
    return {name: (_rounded(data.range_value[0]), _rounded(data.range_value[1])) for name, data in sorted(found.items())}


def _rounded(value: Any) -> float:
    return float(f"{np.asarray(value).item():.6g}")


def write_int8_encoder(graph: Path, ranges: Ranges, target: Path, *, float_blocks: Sequence[str] = ()) -> None:
    """Quantises the encoder's graph with known ranges; the same inputs give the same file.

    Args:
        graph: The fp32 graph.
        ranges: Of ``measure_ranges``, on this graph.
        target: File to write.
        float_blocks: Blocks (of ``blocks_of``) that stay in floating point.

    Raises:
        KeyError: ``ranges`` are of another graph.
    """
    model = onnx.shape_inference.infer_shapes(_with_weights_of_their_own(without_maps(onnx.load(graph))))
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    wanted = {name for node in model.graph.node if node.op_type in _OPERATORS for name in node.output}
    if unknown := sorted(wanted - data.keys()):
        raise KeyError(f"no range of {', '.join(unknown[:4])}")
    names = blocks_of(model)
    excluded = [node for block in float_blocks for node in names[block]]
    with _quiet():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=list(_OPERATORS),
            extra_options={"WeightSymmetric": True, "QDQKeepRemovableActivations": True},
        )
        quantizer.quantize_model()
    quantized = quantizer.model.model
    onnx.save(quantized, target)


def _with_weights_of_their_own(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without sharing: PyTorch's exporter stores equal weights once (those that are all zero, mostly) and hands them on
    through Identity nodes. The quantizer takes what comes out of a node for an activation, and an engine then computes that layer in
    floating point."""
    graph = model.graph
    stored = {item.name: item for item in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in stored]:
        copied = onnx.TensorProto()
        copied.CopyFrom(stored[node.input[0]])
        copied.name = node.output[0]
        graph.initializer.append(copied)
        graph.node.remove(node)
    return model


def blocks_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the quantisable nodes of each residual block, and of the stem, in the graph's order."""
    blocks: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in _OPERATORS and (match := _BLOCK.match(node.name)):
            blocks.setdefault(match[1].split("/")[-1], []).append(node.name)
    return blocks


def block_errors(graph: Path, quantized: Path, crops: Crops) -> dict[str, float]:
    """How much each block adds to the relative error of what flows through the network, from one run of each graph.

    The mean squared difference of a block's output, over that output's mean square, less the same of the block before it.
    """
    ends = {block: names[-1] for block, names in blocks_of(onnx.load(graph)).items()}
    expected, found = _outputs_of(graph, ends, crops), _outputs_of(quantized, ends, crops)
    errors: dict[str, float] = {}
    before = 0.0
    for block in ends:
        error = float(np.square(found[block] - expected[block]).mean() / max(np.square(expected[block]).mean(), 1e-30))
        errors[block] = error - before
        before = error
    return errors


def _outputs_of(graph: Path, ends: Mapping[str, str], crops: Crops) -> dict[str, NDArray[np.float32]]:
    model = onnx.load(graph)
    tensors = {node.name: node.output[0] for node in model.graph.node}
    wanted = {block: tensors[name] for block, name in ends.items()}
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in wanted.values())
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(list(wanted.values()), {FRAMES: crops}), strict=True))


def features_of(graph: Path, crops: Crops) -> NDArray[np.float32]:
    """(N, 2048) features by ONNX Runtime on the processor."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    batches = np.array_split(crops, max(1, len(crops) // 16))
    found: NDArray[np.float32] = np.concatenate([session.run([FEATURES_NAME], {FRAMES: batch})[0] for batch in batches])
    return found


def cosine(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row with its counterpart."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    result: NDArray[np.float64] = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    return result


def write_int8_head(graph: Path, target: Path) -> None:
    """Turns the LSTM's weights into eight bits; activations are quantised step by step as they come, so nothing is calibrated."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="unmask-int8-") as folder:
        written = Path(folder) / target.name
        quantize_dynamic(str(graph), str(written), op_types_to_quantize=["LSTM"], weight_type=QuantType.QInt8, per_channel=True)
        target.write_bytes(written.read_bytes())


class _quiet:  # noqa: N801 - reads as a verb in a with statement
    """The quantizer logs to the root logger and advises a preprocessing that changes nothing here."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: Any) -> None:
        logging.root.setLevel(self._level)
