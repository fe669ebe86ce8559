"""Which network a checkpoint's tensors belong to, and that network with the tensors in it.

``reference``: the widely copied ResNeXt+LSTM project, an nn.Sequential of torchvision's ResNeXt-50 under ``model.``, then
``lstm.`` and ``linear1.``. ``image``: torchvision's ResNeXt-50 with ``fc``. ``unmask``: ours, ``encoder.`` and ``head.``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from client.model_info import Semantics
from export.checkpoints import Checkpoint
from export.detector import FrameEncoder, ImageHead, LastFrameHead, SequenceHead
from export.errors import FactError, UnknownLayout
from export.resnext import ResNeXt50

Layout = Literal["reference", "image", "unmask"]
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Positions in nn.Sequential(*children[:-2]) of torchvision's ResNeXt-50; 2 and 3 hold no parameters."""
_SEMANTICS: dict[Layout, tuple[Semantics, ...]] = {
    "reference": ("reference_last_frame", "sequence"),
    "image": ("image",),
    "unmask": ("sequence", "reference_last_frame", "image"),
}
"""What each layout can be run as; the first is what it is unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks of a detector, in eval mode, and what was found in the file."""

    encoder: FrameEncoder
    head: nn.Module
    layout: Layout
    semantics: Semantics
    hidden_size: int
    """Width of the LSTM; 0 without one."""


def layout_of(checkpoint: Checkpoint) -> Layout:
    """Told by the names of the tensors.

    Raises:
        UnknownLayout: They are those of no layout that is known.
    """
    names = checkpoint.tensors.keys()
    if any(name.startswith(("encoder.backbone.", "backbone.")) for name in names):
        return "unmask"
    if any(name.startswith("model.") for name in names):
        return "reference"
    if any(name.startswith(("conv1.", "layer1.", "fc.")) for name in names):
        return "image"
    found = ", ".join(list(names)[:6])
    raise UnknownLayout(
        f"{checkpoint.path} holds tensors of an unknown network ({found}, ...); known: ResNeXt+LSTM (model.0.weight, lstm.*, "
        "linear1.*), image-only ResNeXt-50 (conv1.weight, layer1.*, fc.*), and Unmask's own (encoder.*, head.*)"
    )


def build(checkpoint: Checkpoint, *, semantics: Semantics | None, classes: tuple[str, str]) -> Networks:
    """The networks of a checkpoint, with the logits in the order real, fake.

    Args:
        checkpoint: As read.
        semantics: How the head is to be run; None: as the layout is.
        classes: Meaning of the checkpoint's two outputs; the last layer is turned around where they are fake, real.

    Raises:
        UnknownLayout: Keys are missing or surplus, or tensors have other shapes; the message names all of them.
        FactError: The layout cannot be run with these semantics.
    """
    layout = layout_of(checkpoint)
    encoder_part, head_part = _split(checkpoint, layout)
    own = checkpoint.metadata.get("semantics") if layout == "unmask" else None
    chosen = semantics or _known(own) or ("image" if "fc.weight" in head_part else _SEMANTICS[layout][0])
    possible = ("image",) if "fc.weight" in head_part else ("sequence", "reference_last_frame")
    if chosen not in possible:
        raise FactError(
            f"{checkpoint.path} has the layout {layout} and cannot be run as {chosen}; possible: {', '.join(possible)}"
        )
    # Without memory of their own: filling 56 million random weights that are replaced at once would take seconds.
    with torch.device("meta"):
        backbone = ResNeXt50()
        head = ImageHead() if chosen == "image" else _sequence_head(checkpoint, head_part)
    problems = _differences(backbone, encoder_part, prefix=_prefix(layout))
    problems += _differences(head, head_part, prefix="head." if _wrapped(checkpoint) else "")
    if problems:
        raise UnknownLayout(f"{checkpoint.path} does not fit the layout {layout}: {'; '.join(problems)}")
    # The number of batches seen in training is used by nothing here, and old checkpoints do not have it.
    counters = {name: torch.tensor(0) for name in backbone.state_dict() if name.endswith("num_batches_tracked")}
    backbone.load_state_dict(encoder_part | counters, assign=True)
    head.load_state_dict(head_part, assign=True)
    encoder = FrameEncoder(backbone)
    if classes == ("fake", "real"):
        last = head.fc if isinstance(head, ImageHead) else head.linear1
        with torch.no_grad():
            last.weight.copy_(last.weight.flip(0).clone())
            last.bias.copy_(last.bias.flip(0).clone())
    hidden = 0
    if isinstance(head, SequenceHead):
        hidden = head.lstm.hidden_size
        if chosen == "reference_last_frame":
            return Networks(encoder.eval(), LastFrameHead(head.lstm, head.linear1).eval(), layout, chosen, hidden)
    return Networks(encoder.eval(), head.eval(), layout, chosen, hidden)


def _known(text: str | None) -> Semantics | None:
    for value in ("sequence", "reference_last_frame", "image"):
        if text == value:
            return value
    return None


def _prefix(layout: Layout) -> str:
    return {"reference": "model.", "image": "", "unmask": "encoder.backbone."}[layout]


def _wrapped(checkpoint: Checkpoint) -> bool:
    return any(name.startswith("head.") for name in checkpoint.tensors)


def _split(checkpoint: Checkpoint, layout: Layout) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the backbone under torchvision's names, and all others."""
    backbone: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    for name, value in checkpoint.tensors.items():
        if layout == "reference":
            match = re.fullmatch(r"model\.(\d+)\.(.+)", name)
            if match and match[1] in _SEQUENTIAL:
                backbone[f"{_SEQUENTIAL[match[1]]}.{match[2]}"] = value
            else:
                head[name] = value
        elif layout == "image":
            (head if name.startswith("fc.") else backbone)[name] = value
        elif name.startswith(("encoder.backbone.", "backbone.")):
            backbone[name.removeprefix("encoder.").removeprefix("backbone.")] = value
        else:
            head[name.removeprefix("head.")] = value
    return backbone, head


def _sequence_head(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> SequenceHead:
    """An empty head of the size that the tensors say."""
    if any(name.startswith("lstm.") and name.endswith("_reverse") for name in tensors):
        raise UnknownLayout(f"{checkpoint.path} has a bidirectional LSTM (lstm.*_reverse), which no head here runs")
    recurrent = tensors.get("lstm.weight_hh_l0")
    if recurrent is None or recurrent.ndim != 2 or recurrent.shape[0] != 4 * recurrent.shape[1] or recurrent.shape[1] == 0:
        # The comparison with the reference's own size names what is missing or wrong.
        return SequenceHead(2048, bias=False)
    layers = sum(bool(re.fullmatch(r"lstm\.weight_hh_l\d+", name)) for name in tensors)
    return SequenceHead(recurrent.shape[1], layers, bias="lstm.bias_ih_l0" in tensors)


def _differences(module: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str) -> list[str]:
    """All missing, surplus and misshapen keys, under the names that they have in the file."""
    expected = module.state_dict()
    back = {name: position for position, name in _SEQUENTIAL.items()}

    def written(name: str) -> str:
        if prefix == "model.":
            first, _, rest = name.partition(".")
            return f"model.{back.get(first, first)}.{rest}"
        return prefix + name

    missing = [written(name) for name in expected if name not in tensors and not name.endswith("num_batches_tracked")]
    surplus = [written(name) for name in tensors.keys() - expected.keys()]
    shapes = [
        f"{written(name)} is {tuple(tensors[name].shape)}, must be {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    found = []
    for kind, names in (("missing", missing), ("surplus", sorted(surplus)), ("wrong shape", shapes)):
        if names:
            found.append(f"{kind}: {', '.join(names)}")
    return found
