"""The two networks that are served: frames -> features, features -> probabilities."""

import torch
from torch import Tensor, nn

from export.resnext import FEATURES, ResNeXt50

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrameEncoder(nn.Module):
    """uint8 pictures -> features, normalisation included, so that a client sends bytes and knows no constants."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ResNeXt50) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD) * 255.0, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB -> (T, 2048) float32."""
        pictures = ((frames.to(torch.float32) - self.mean) / self.std).permute(0, 3, 1, 2)
        features: Tensor = self.backbone(pictures.to(self.backbone.conv1.weight.dtype))
        return features.to(torch.float32)


class SequenceHead(nn.Module):
    """A true sequence model: an LSTM over the frames in order, a linear layer on each of its outputs.

    The clip's logits are the mean of its frames' logits, which is the linear layer on the mean output; frame t has seen
    frames 0..t, so the clip's score depends on their order.
    """

    def __init__(self, hidden_size: int = 512, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, hidden_size, layers, batch_first=True)
        self.linear1 = nn.Linear(hidden_size, 2)

    def forward(self, features: Tensor) -> Tensor:
        """(T, 2048) -> logits of each frame (T, 2), real and fake."""
        outputs, _ = self.lstm(features.unsqueeze(0))
        logits: Tensor = self.linear1(outputs.squeeze(0))
        return logits


class ClipHead(nn.Module):
    """What ``clip_head`` serves: a head's logits, and the probabilities made of them."""

    def __init__(self, head: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.temperature = temperature

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, 2048) -> clip's probability of fake (1,), each frame's (T,), each frame's raw logits (T, 2).

        Probabilities come after the temperature (Guo et al., ICML 2017), logits before it.
        """
        logits = self.head(features.to(next(self.head.parameters()).dtype)).to(torch.float32)
        clip = torch.softmax(logits.mean(0, keepdim=True) / self.temperature, 1)[:, 1]
        frames = torch.softmax(logits / self.temperature, 1)[:, 1]
        return clip, frames, logits
