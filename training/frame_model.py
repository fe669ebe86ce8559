"""The frame stage's network: the served encoder, a classifier on it, and a side head that finds the blend while learning."""

import copy
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from export.detector import FrameEncoder
from export.resnext import FEATURES, Bottleneck, ResNeXt50
from training import checkpoints
from training.errors import CheckpointMismatchError

_LAYERS = ("layer1", "layer2", "layer3", "layer4")
_SIDE_WIDTHS = {"layer2": 512, "layer3": 1024}
"""Channels of the layers (stride 8 and 16) that the side heads read."""


class FrameModel(nn.Module):
    """Logits real, fake of each frame, and maps of where the foreign part and its edge are.

    The maps are learned beside the classification, as Face X-ray (Li et al., CVPR 2020) does: each picture then gives some
    hundred labels instead of one. They are not served.
    """

    def __init__(self) -> None:
        super().__init__()
        self.active_blocks: tuple[int, ...] = ()
        """Blocks of each layer that are computed by ``forward``; empty: all. A block that has not learned yet is its shortcut."""
        self.encoder = FrameEncoder(ResNeXt50())
        self.classifier = nn.Linear(FEATURES, 2)
        self.side_heads = nn.ModuleList(nn.Conv2d(width, 2, 1) for width in _SIDE_WIDTHS.values())
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Bottleneck) and module.downsample is None:
                # Each block starts as its shortcut (Goyal et al. 2017), but for the first of a layer, whose shortcut sees a
                # quarter of the places.
                nn.init.zeros_(module.bn3.weight)
        _look_at_detail(self.encoder.backbone.conv1)

    def start_from(self, path: Path) -> None:
        """Takes the encoder of weights in any layout that ``unmask export`` reads; of a run's own checkpoint everything.

        Raises:
            ExportError: They cannot be read.
            CheckpointMismatchError: A run's checkpoint is of another network.
        """
        if (mine := checkpoints.weights_of_run(path)) is not None:
            try:
                self.load_state_dict(mine)
            except RuntimeError as error:
                raise CheckpointMismatchError(
                    f"{path} holds another network than this version trains: {error}; start from weights of this version"
                ) from error
            return
        from export.checkpoints import read_checkpoint
        from export.layouts import build

        self.encoder.load_state_dict(
            build(read_checkpoint(path), semantics=None, classes=("real", "fake")).encoder.state_dict()
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, H, W, 3) uint8 RGB -> logits (N, 2), maps [(N, 2, H / 8, W / 8), (N, 2, H / 16, W / 16)] of share and edge."""
        backbone = self.encoder.backbone
        x = ((frames.to(torch.float32) - self.encoder.mean) / self.encoder.std).permute(0, 3, 1, 2)
        x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(x))))
        maps: list[Tensor] = []
        for name, count in zip(_LAYERS, self.active_blocks or (None,) * len(_LAYERS), strict=True):
            for block in islice(backbone.get_submodule(name).children(), count):
                x = block(x)
            if name in _SIDE_WIDTHS:
                maps.append(self.side_heads[len(maps)](x))
        features = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        return self.classifier(features), maps

    def learned_blocks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How many blocks of each layer have to be computed to compute all that the encoder does, and how many there are."""
        layers = [list(self.encoder.backbone.get_submodule(name).children()) for name in _LAYERS]
        learned = (max(place for place, block in enumerate(blocks, 1) if not _is_idle(block)) for blocks in layers)
        return tuple(learned), tuple(map(len, layers))


def without_idle_blocks(encoder: FrameEncoder) -> FrameEncoder:
    """The same function without the blocks that never learned: their last batch norm is 0, so they pass on what they get."""
    lean = copy.deepcopy(encoder)
    for layer in (lean.backbone.get_submodule(f"layer{number}") for number in range(1, 5)):
        for name, block in list(layer.named_children()):
            if _is_idle(block):
                setattr(layer, name, nn.Identity())
    return lean


def _is_idle(block: nn.Module) -> bool:
    """Whether a block has not learned yet and is its shortcut."""
    assert isinstance(block, Bottleneck)
    return block.downsample is None and not block.bn3.weight.any() and not block.bn3.bias.any()


@torch.no_grad()
def _look_at_detail(conv: nn.Conv2d) -> None:
    """Makes three of four first filters blind to smooth light, so that they answer to noise, edges and sharpness.

    What gives a blend away is in the finest detail, and most of a photograph's energy is not: filters that start at random learn
    to look there only slowly. Networks for steganalysis start from high-pass filters for the same reason (Qian et al. 2015).
    """
    side = conv.kernel_size[0]
    place = torch.arange(side, dtype=torch.float32) - side // 2
    down, right = torch.meshgrid(place, place, indexing="ij")
    count = conv.out_channels * 3 // 4
    for number in range(count):
        window = torch.exp(-(down**2 + right**2) / (2 * (0.7 + 0.8 * number / count) ** 2))
        weight = conv.weight[number] * window
        # Nothing left of a constant and of a slope, under the window.
        basis = torch.stack([torch.ones_like(down), down, right]).flatten(1)
        scaled = basis * window.flatten().sqrt()
        orthonormal, _ = torch.linalg.qr(scaled.T)
        flat = (weight.flatten(1) / window.flatten().sqrt()).T
        flat = flat - orthonormal @ (orthonormal.T @ flat)
        weight = (flat.T * window.flatten().sqrt()).reshape(weight.shape)
        conv.weight[number] = weight * (conv.weight[number].norm() / weight.norm().clamp_min(1e-6))
