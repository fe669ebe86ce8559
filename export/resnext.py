"""ResNeXt-50 32x4d (Xie et al., CVPR 2017) under torchvision's parameter names.

Defined here because torchvision does not import beside a CPU-only torch; the names make its checkpoints, and those of everybody who
trained with it, load unchanged.
"""

import torch
from torch import Tensor, nn

FEATURES = 2048
"""Width of the pooled features."""
_GROUPS = 32
_LAYERS = ((128, 256, 3, 1), (256, 512, 4, 2), (512, 1024, 6, 2), (1024, 2048, 3, 2))
"""Per stage: width inside the blocks, width out, blocks, stride."""


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1, each with batch normalisation, around a shortcut."""

    def __init__(self, width_in: int, width: int, width_out: int, *, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)) if project else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, width_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + shortcut)
        return out


class ResNeXt50(nn.Module):
    """The network without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width_in = 64
        for number, (width, width_out, blocks, stride) in enumerate(_LAYERS, 1):
            stage = [Bottleneck(width_in, width, width_out, stride=stride, project=True)]
            stage += [Bottleneck(width_out, width, width_out, stride=1, project=False) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            width_in = width_out

    def feature_maps(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) -> last feature maps (N, 2048, H / 32, W / 32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_LAYERS) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, 3, H, W) -> pooled features (N, 2048)."""
        return torch.flatten(nn.functional.adaptive_avg_pool2d(self.feature_maps(x), 1), 1)
