"""The two networks that are served: frames -> features, features -> probabilities."""

import torch
from torch import Tensor, nn

from client.model_info import Semantics
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
        features: Tensor = self.backbone(_as(pictures, self.backbone.conv1.weight.dtype))
        return _as(features, torch.float32)


class SequenceHead(nn.Module):
    """A true sequence model: an LSTM over the frames in order, a linear layer on each of its outputs.

    The clip's logits are the mean of its frames' logits, which is the linear layer on the mean output; frame t has seen
    frames 0..t, so the clip's score depends on their order.
    """

    semantics: Semantics = "sequence"

    def __init__(self, hidden_size: int = 512, layers: int = 1, *, bias: bool = True) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, hidden_size, layers, bias=bias, batch_first=True)
        self.linear1 = nn.Linear(hidden_size, 2)

    def forward(self, features: Tensor) -> Tensor:
        """(T, 2048) -> logits of each frame (T, 2), real and fake."""
        outputs, _ = self.lstm(features.unsqueeze(0))
        logits: Tensor = self.linear1(outputs.squeeze(0))
        return logits


class LastFrameHead(nn.Module):
    """The widely copied original as it was served: one step of its LSTM on each frame alone, from a state of zeros.

    The original's LSTM is not batch_first while its input is (1, T, 2048), so that each frame is a sequence of length 1; then it
    takes the last one. With h = c = 0 the recurrent weights and the forget gate drop out: what is left is one matrix product and
    the gates, for all frames at a time. The clip's logits are the last frame's.
    """

    semantics: Semantics = "reference_last_frame"

    def __init__(self, lstm: nn.LSTM, linear1: nn.Linear) -> None:
        super().__init__()
        hidden = lstm.hidden_size
        self.steps = nn.ModuleList()
        for layer in range(lstm.num_layers):
            weight = lstm.get_parameter(f"weight_ih_l{layer}").detach()
            step = nn.Linear(weight.shape[1], 3 * hidden, bias=lstm.bias)
            kept = torch.cat([torch.arange(hidden), torch.arange(2 * hidden, 4 * hidden)])  # i, g, o of PyTorch's i, f, g, o
            with torch.no_grad():
                step.weight.copy_(weight[kept])
                if lstm.bias:
                    both = lstm.get_parameter(f"bias_ih_l{layer}") + lstm.get_parameter(f"bias_hh_l{layer}")
                    step.bias.copy_(both[kept])
            self.steps.append(step)
        self.linear1 = linear1

    def forward(self, features: Tensor) -> Tensor:
        """(T, 2048) -> logits of each frame by itself (T, 2), real and fake."""
        for step in self.steps:
            update, candidate, out = step(features).chunk(3, 1)
            features = torch.sigmoid(out) * torch.tanh(torch.sigmoid(update) * torch.tanh(candidate))
        logits: Tensor = self.linear1(features)
        return logits


class ImageHead(nn.Module):
    """The classifier of an image-only ResNeXt-50: each frame by itself; the clip's probability is the mean of its frames'."""

    semantics: Semantics = "image"

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(FEATURES, 2)

    def forward(self, features: Tensor) -> Tensor:
        """(T, 2048) -> logits of each frame (T, 2), real and fake."""
        logits: Tensor = self.fc(features)
        return logits


class ClipHead(nn.Module):
    """What ``clip_head`` serves: a head's logits, and the probabilities made of them."""

    def __init__(self, head: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.temperature = temperature
        self.semantics: Semantics = getattr(head, "semantics", "sequence")

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(T, 2048) -> clip's probability of fake (1,), each frame's (T,), each frame's raw logits (T, 2).

        Probabilities come after the temperature (Guo et al., ICML 2017), logits before it.
        """
        logits = _as(self.head(_as(features, next(self.head.parameters()).dtype)), torch.float32)
        frames = torch.softmax(logits / self.temperature, 1)[:, 1]
        if self.semantics == "image":
            return frames.mean(0, keepdim=True), frames, logits
        pooled = logits[-1:] if self.semantics == "reference_last_frame" else logits.mean(0, keepdim=True)
        return torch.softmax(pooled / self.temperature, 1)[:, 1], frames, logits


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A cast that is no node of the graph where nothing changes: quantizers stumble over those."""
    return x if x.dtype == dtype else x.to(dtype)
