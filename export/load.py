"""Checkpoint file -> the networks and facts of a detector; and the way back, into our own format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from client.model_info import ModelInfo
from common.files import written_whole
from export.checkpoints import read_checkpoint
from export.contents import weights_sha256
from export.detector import FrameEncoder, LastFrameHead
from export.errors import ExportError
from export.facts import Flags, class_order, model_info
from export.layouts import Layout, build, layout_of

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Where the default detector's weights lie, if there are any."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A detector, ready to be exported."""

    encoder: FrameEncoder
    head: nn.Module
    info: ModelInfo
    layout: Layout
    path: Path


def load_detector(path: Path, flags: Flags = Flags()) -> Loaded:  # noqa: B008 - frozen
    """Reads a checkpoint of any layout that is known.

    Raises:
        CheckpointError: It cannot be read, is of another network, or leaves open what matters; see ``export.errors``.
    """
    checkpoint = read_checkpoint(path)
    layout = layout_of(checkpoint)
    classes = class_order(path, flags, checkpoint.metadata, layout)
    networks = build(checkpoint, semantics=flags.semantics, classes=classes)
    info = model_info(
        path,
        flags,
        checkpoint.metadata,
        layout=layout,
        semantics=networks.semantics,
        weights_sha256=weights_sha256(networks.encoder, networks.head),
    )
    return Loaded(networks.encoder, networks.head, info, layout, path)


def default_weights() -> Path | None:
    """The weights that ship with the project; None where there are none."""
    found = sorted(WEIGHTS.glob("*.safetensors"))
    return found[0] if found else None


def save_detector(path: Path, encoder: FrameEncoder, head: nn.Module, info: ModelInfo, *, half: bool = True) -> None:
    """Writes our own format: safetensors, ``encoder.`` and ``head.`` before the parameters' names, the facts as metadata.

    Args:
        path: File to write, whole or not at all.
        encoder: Frames -> features.
        head: A ``SequenceHead`` or an ``ImageHead``.
        info: The facts.
        half: Write float16; what is read back is float32 of those values.

    Raises:
        ExportError: The head has lost its recurrent weights and cannot be saved.
    """
    from safetensors.torch import save_file

    if isinstance(head, LastFrameHead):
        raise ExportError("a reference_last_frame head keeps no recurrent weights; keep the checkpoint that it was read from")
    tensors = dict(_named(encoder, head))
    stored = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().clone()
        for name, value in tensors.items()
    }
    with written_whole(path) as partial:
        save_file(stored, partial, metadata={"format": "unmask-1", **info.to_parameters()})


def _named(encoder: FrameEncoder, head: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in (("encoder.", encoder), ("head.", head)):
        for name, value in module.state_dict().items():
            yield prefix + name, value.detach()
