"""The explainer's second half as an ONNX graph: feature maps -> scores and exact Grad-CAM, gradient included.

Grad-CAM (Selvaraju et al., ICCV 2017) weighs the last feature maps with the gradient of the score's logit. Here the way from maps to
score is average pooling (linear: the gradient of a pixel is that of the pooled feature over the number of pixels) and the head. The
head's gradient is written out by hand as nodes, a recurrence that runs backwards over the frames included (back-propagation through
time), so that no framework with automatic differentiation is needed where it is served, and any engine that runs the detector runs it.

What is explained is the logit of the clip's score before the temperature: fake minus real, of the clip's pooled logits (``sequence``: mean
over the frames; ``reference_last_frame``: the last frame; ``image``: the mean of the frames' logits, of each frame alone).
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.detector import ClipHead, ImageHead, LastFrameHead, SequenceHead
from export.errors import ExportError
from export.graphs import HEAD_OUTPUTS, OPSET
from export.resnext import FEATURES

MAPS = "MAPS"
EXPLAINER_OUTPUTS = (*HEAD_OUTPUTS, "HEATMAPS", "EVIDENCE")
"""HEATMAPS (T, S, S): Grad-CAM, what raised the score. EVIDENCE: the same before the ReLU, so that what lowered it is negative."""
Array = NDArray[np.float32]
_GATES = 4


def map_side(image_size_px: int) -> int:
    """Height and width of the last feature maps of a square picture: halved five times, rounded up."""
    for _ in range(5):
        image_size_px = -(-image_size_px // 2)
    return image_size_px


def add_maps(path: Path, *, image_size_px: int) -> None:
    """Makes the feature maps before the pooling an output of an encoder's graph, beside the features.

    What is pooled is computed anyway; a server that does not ask for them pays for one copy.
    """
    model, side = onnx.load(path), map_side(image_size_px)
    (pooling,) = [node for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    model.graph.node.append(helper.make_node("Identity", [pooling.input[0]], [MAPS], name="maps"))
    model.graph.output.append(helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["T", FEATURES, side, side]))
    onnx.save(model, path)


def without_maps(model: Any) -> Any:
    """The same graph as ``add_maps`` found it."""
    for name, items in (("MAPS", model.graph.output), ("maps", model.graph.node)):
        for item in [item for item in items if item.name == name]:
            items.remove(item)
    return model


def export_gradient(head: ClipHead, path: Path, *, image_size_px: int) -> None:
    """Writes MAPS (T, 2048, S, S) float32 -> the head's outputs, HEATMAPS and EVIDENCE (T, S, S) float32.

    Raises:
        ExportError: A kind of head whose gradient nobody wrote down.
    """
    side = map_side(image_size_px)
    graph = _Graph()
    features = graph.node("ReduceMean", [MAPS], axes=[2, 3], keepdims=0)
    logits, gradient = _head(graph, head.head, features)
    _scores(graph, head, logits)
    # Of a pixel: the pooled feature's over the number of pixels.
    rows = graph.node("Unsqueeze", [gradient, graph.integers([1])])
    flat = graph.node("Reshape", [MAPS, graph.integers([0, 0, side * side])])
    mixed = graph.node("Reshape", [graph.node("MatMul", [rows, flat]), graph.integers([-1, side, side])])
    graph.node("Div", [mixed, graph.constant(np.float32(side * side))], "EVIDENCE")
    graph.node("Relu", ["EVIDENCE"], "HEATMAPS")
    shapes: tuple[list[Any], ...] = ([1], ["T"], ["T", 2], ["T", side, side], ["T", side, side])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "explainer",
            [helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["T", FEATURES, side, side])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in zip(EXPLAINER_OUTPUTS, shapes, strict=True)
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="unmask",
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Graph:
    """Nodes and constants with names made up as they come."""

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prefix = prefix

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """One node with one output; its name."""
        name = output or f"{self._prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{self._prefix}{len(self.nodes)}_{kind}", **attributes))
        return name

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """Equal parts along an axis."""
        names = [f"{self._prefix}part_{len(self.nodes)}_{number}" for number in range(parts)]
        self.nodes.append(helper.make_node("Split", [value], names, name=f"{self._prefix}{len(self.nodes)}_Split", axis=axis))
        return names

    def constant(self, value: Any) -> str:
        """A number or an array."""
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, values: list[int]) -> str:
        """A shape or axes."""
        return self.constant(np.array(values, np.int64))

    def chain(self, kind: str, first: str, *others: str) -> str:
        """``first kind other kind other ...``."""
        for other in others:
            first = self.node(kind, [first, other])
        return first

    def scan(self, body: Any, states: list[str], sequences: list[str], outputs: int, *, backwards: bool = False) -> list[str]:
        """Runs ``body`` frame by frame; the stacked outputs, in the frames' order whichever way it ran."""
        names = [f"{self._prefix}scan_{len(self.nodes)}_{number}" for number in range(len(states) + outputs)]
        direction = int(backwards)
        self.nodes.append(
            helper.make_node(
                "Scan", [*states, *sequences], names, name=f"{self._prefix}{len(self.nodes)}_Scan", body=body,
                num_scan_inputs=len(sequences), scan_input_directions=[direction] * len(sequences),
                scan_output_directions=[direction] * outputs,
            )
        )  # fmt: skip
        return names[len(states) :]


def _head(graph: _Graph, head: nn.Module, features: str) -> tuple[str, str]:
    """Logits (T, 2), and the gradient of the clip's logit by the features (T, 2048)."""
    if isinstance(head, SequenceHead):
        return _sequence(graph, head, features)
    if isinstance(head, LastFrameHead):
        return _last_frame(graph, head, features)
    if isinstance(head, ImageHead):
        weight, bias = _array(head.fc.weight), _array(head.fc.bias)
        logits = graph.node("Gemm", [features, graph.constant(weight), graph.constant(bias)], transB=1)
        return logits, _for_each_frame(graph, features, weight[1] - weight[0], mean=True)
    raise ExportError(f"a head of class {type(head).__name__} has no explainer; leave --explainer out")


def _sequence(graph: _Graph, head: SequenceHead, features: str) -> tuple[str, str]:
    """An LSTM forwards, noting its gates; then backwards through time, layer by layer from the top."""
    lstm, hidden = head.lstm, head.lstm.hidden_size
    zeros = graph.constant(np.zeros(hidden, np.float32))
    below, noted = features, []
    for layer in range(lstm.num_layers):
        inward = graph.constant(_array(lstm.get_parameter(f"weight_ih_l{layer}")))
        recurrent = graph.constant(_array(lstm.get_parameter(f"weight_hh_l{layer}")))
        summed = np.zeros(_GATES * hidden, np.float32)
        if lstm.bias:
            summed = _array(lstm.get_parameter(f"bias_ih_l{layer}") + lstm.get_parameter(f"bias_hh_l{layer}"))
        drive = graph.node("Gemm", [below, inward, graph.constant(summed)], transB=1)
        forward = _forward_step(f"l{layer}_", recurrent, hidden)
        gates, cell_before, cell_squashed, below = graph.scan(forward, [zeros, zeros], [drive], 4)
        noted.append((inward, recurrent, gates, cell_before, cell_squashed))
    weight, bias = _array(head.linear1.weight), _array(head.linear1.bias)
    logits = graph.node("Gemm", [below, graph.constant(weight), graph.constant(bias)], transB=1)
    gradient = _for_each_frame(graph, features, weight[1] - weight[0], mean=True)
    for layer, (inward, recurrent, *facts) in reversed(list(enumerate(noted))):
        backward = _backward_step(f"b{layer}_", recurrent, hidden)
        (of_drive,) = graph.scan(backward, [zeros, zeros], [gradient, *facts], 1, backwards=True)
        gradient = graph.node("MatMul", [of_drive, inward])
    return logits, gradient


def _forward_step(prefix: str, recurrent: str, hidden: int) -> Any:
    """One frame of an LSTM in PyTorch's order of gates (i, f, g, o); notes what the way back needs."""
    step = _Graph(prefix)
    # A row times a matrix: engines have a fast way for that, and none for a matrix times a column.
    row = step.node("Unsqueeze", [f"{prefix}h", step.integers([0])])
    pushed = step.node("Squeeze", [step.node("Gemm", [row, recurrent], transB=1), step.integers([0])])
    update, forget, candidate, out = step.split(step.node("Add", [f"{prefix}drive", pushed]), _GATES, 0)
    update, forget, out = (step.node("Sigmoid", [gate]) for gate in (update, forget, out))
    candidate = step.node("Tanh", [candidate])
    kept, new = step.node("Mul", [forget, f"{prefix}c"]), step.node("Mul", [update, candidate])
    step.node("Add", [kept, new], f"{prefix}c_next")
    step.node("Tanh", [f"{prefix}c_next"], f"{prefix}squashed")
    step.node("Mul", [out, f"{prefix}squashed"], f"{prefix}h_next")
    step.node("Concat", [update, forget, candidate, out], f"{prefix}gates", axis=0)
    step.node("Identity", [f"{prefix}c"], f"{prefix}c_before")
    step.node("Identity", [f"{prefix}h_next"], f"{prefix}h_out")
    wide = _GATES * hidden
    return _body(
        step,
        {f"{prefix}h": hidden, f"{prefix}c": hidden, f"{prefix}drive": wide},
        {
            f"{prefix}h_next": hidden, f"{prefix}c_next": hidden, f"{prefix}gates": wide, f"{prefix}c_before": hidden,
            f"{prefix}squashed": hidden, f"{prefix}h_out": hidden,
        },
    )  # fmt: skip


def _backward_step(prefix: str, recurrent: str, hidden: int) -> Any:
    """One frame of the way back: gradients by h and c come in from the frame after, and go out to the one before."""
    step = _Graph(prefix)
    one = step.constant(np.float32(1))
    update, forget, candidate, out = step.split(f"{prefix}gates", _GATES, 0)
    squashed, of_h = f"{prefix}squashed", step.node("Add", [f"{prefix}above", f"{prefix}dh"])

    def slope(value: str, *, tanh: bool = False) -> str:
        """Of a sigmoid or tanh, by its value."""
        if tanh:
            return step.node("Sub", [one, step.node("Mul", [value, value])])
        return step.node("Mul", [value, step.node("Sub", [one, value])])

    of_c = step.node("Add", [f"{prefix}dc", step.chain("Mul", of_h, out, slope(squashed, tanh=True))])
    step.node(
        "Concat",
        [
            step.chain("Mul", of_c, candidate, slope(update)),
            step.chain("Mul", of_c, f"{prefix}c_before", slope(forget)),
            step.chain("Mul", of_c, update, slope(candidate, tanh=True)),
            step.chain("Mul", of_h, squashed, slope(out)),
        ],
        f"{prefix}of_drive",
        axis=0,
    )
    step.node("MatMul", [f"{prefix}of_drive", recurrent], f"{prefix}dh_next")
    step.node("Mul", [of_c, forget], f"{prefix}dc_next")
    wide = _GATES * hidden
    return _body(
        step,
        {
            f"{prefix}dh": hidden, f"{prefix}dc": hidden, f"{prefix}above": hidden, f"{prefix}gates": wide,
            f"{prefix}c_before": hidden, f"{prefix}squashed": hidden,
        },
        {f"{prefix}dh_next": hidden, f"{prefix}dc_next": hidden, f"{prefix}of_drive": wide},
    )  # fmt: skip


def _last_frame(graph: _Graph, head: LastFrameHead, features: str) -> tuple[str, str]:
    """One step from a state of zeros, for all frames at a time; only the last frame's logits are the clip's."""
    one = graph.constant(np.float32(1))
    below, noted = features, []
    for step in head.steps:
        assert isinstance(step, nn.Linear)
        inward = graph.constant(_array(step.weight))
        bias = np.zeros(step.out_features, np.float32) if step.bias is None else _array(step.bias)
        update, candidate, out = graph.split(graph.node("Gemm", [below, inward, graph.constant(bias)], transB=1), 3, 1)
        update, out = graph.node("Sigmoid", [update]), graph.node("Sigmoid", [out])
        candidate = graph.node("Tanh", [candidate])
        squashed = graph.node("Tanh", [graph.node("Mul", [update, candidate])])
        below = graph.node("Mul", [out, squashed])
        noted.append((inward, update, candidate, out, squashed))
    weight, bias = _array(head.linear1.weight), _array(head.linear1.bias)
    logits = graph.node("Gemm", [below, graph.constant(weight), graph.constant(bias)], transB=1)
    gradient = _for_each_frame(graph, features, weight[1] - weight[0], mean=False)

    def slope(value: str, *, tanh: bool = False) -> str:
        if tanh:
            return graph.node("Sub", [one, graph.node("Mul", [value, value])])
        return graph.node("Mul", [value, graph.node("Sub", [one, value])])

    for inward, update, candidate, out, squashed in reversed(noted):
        of_c = graph.chain("Mul", gradient, out, slope(squashed, tanh=True))
        parts = [
            graph.chain("Mul", of_c, candidate, slope(update)),
            graph.chain("Mul", of_c, update, slope(candidate, tanh=True)),
            graph.chain("Mul", gradient, squashed, slope(out)),
        ]
        gradient = graph.node("MatMul", [graph.node("Concat", parts, axis=1), inward])
    return logits, gradient


def _for_each_frame(graph: _Graph, features: str, direction: Array, *, mean: bool) -> str:
    """The gradient of the clip's logit by each frame's last layer (T, width): a T-th of it each, or the last frame's alone."""
    frames = graph.node("Shape", [features], end=1)
    shape = graph.node("Concat", [frames, graph.integers([len(direction)])], axis=0)
    spread = graph.node("Expand", [graph.constant(direction[None]), shape])
    if mean:
        return graph.node("Div", [spread, graph.node("Cast", [frames], to=TensorProto.FLOAT)])
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    count = graph.node("Squeeze", [frames, graph.integers([0])])
    is_last = graph.node("Equal", [graph.node("Range", [zero, count, one]), graph.node("Sub", [count, one])])
    mask = graph.node("Unsqueeze", [graph.node("Cast", [is_last], to=TensorProto.FLOAT), graph.integers([1])])
    return graph.node("Mul", [spread, mask])


def _scores(graph: _Graph, head: ClipHead, logits: str) -> None:
    """The head's outputs, as ``ClipHead`` makes them."""
    graph.node("Identity", [logits], "FRAME_LOGITS")
    temperature = graph.constant(np.float32(head.temperature))

    def probability(of: str, output: str | None = None) -> str:
        both = graph.node("Softmax", [graph.node("Div", [of, temperature])], axis=1)
        fake = graph.node("Gather", [both, graph.integers([1])], axis=1)
        return graph.node("Squeeze", [fake, graph.integers([1])], output)

    probability(logits, "FRAME_PROBABILITIES")
    if head.semantics == "image":
        graph.node("ReduceMean", ["FRAME_PROBABILITIES"], "CLIP_PROBABILITY", axes=[0], keepdims=1)
    elif head.semantics == "reference_last_frame":
        probability(graph.node("Gather", [logits, graph.integers([-1])], axis=0), "CLIP_PROBABILITY")
    else:
        probability(graph.node("ReduceMean", [logits], axes=[0], keepdims=1), "CLIP_PROBABILITY")


def _body(step: _Graph, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    """The graph of one frame; the recurrent weights are the outer graph's."""

    def values(named: dict[str, int]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [width]) for name, width in named.items()]

    return helper.make_graph(step.nodes, "frame", values(inputs), values(outputs), step.constants)


def _array(value: Any) -> Array:
    found: Array = value.detach().to("cpu").float().numpy()
    return found
