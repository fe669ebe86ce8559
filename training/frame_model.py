"""The frame stage's network: the served encoder, a classifier on it, and a side head that finds the blend while learning."""

import torch
from torch import Tensor, nn

from export.detector import FrameEncoder
from export.resnext import FEATURES, Bottleneck, ResNeXt50

_SIDE_WIDTHS = (512, 1024)
"""Channels of layer2 (stride 8) and layer3 (stride 16)."""


class FrameModel(nn.Module):
    """Logits real, fake of each frame, and maps of where the foreign part and its edge are.

    The maps are learned beside the classification, as Face X-ray (Li et al., CVPR 2020) does: each picture then gives some
    hundred labels instead of one. They are not served.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = FrameEncoder(ResNeXt50())
        self.classifier = nn.Linear(FEATURES, 2)
        self.side_heads = nn.ModuleList(nn.Conv2d(width, 2, 1) for width in _SIDE_WIDTHS)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Bottleneck):
                # Each block starts as its shortcut (Goyal et al. 2017).
                nn.init.zeros_(module.bn3.weight)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, H, W, 3) uint8 RGB -> logits (N, 2), maps [(N, 2, H / 8, W / 8), (N, 2, H / 16, W / 16)] of share and edge."""
        backbone = self.encoder.backbone
        x = ((frames.to(torch.float32) - self.encoder.mean) / self.encoder.std).permute(0, 3, 1, 2)
        x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(x))))
        x = backbone.layer2(backbone.layer1(x))
        maps = [self.side_heads[0](x)]
        x = backbone.layer3(x)
        maps.append(self.side_heads[1](x))
        features = torch.flatten(nn.functional.adaptive_avg_pool2d(backbone.layer4(x), 1), 1)
        return self.classifier(features), maps

    def logits(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> logits (N, 2), by the encoder as it is served."""
        out: Tensor = self.classifier(self.encoder(frames))
        return out
