"""Checkpoints as people have them, made from a seed; and the served original, written from what it is known to do."""

from pathlib import Path

import torch
from torch import Tensor, nn

from export.resnext import ResNeXt50

SEED = 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ServedOriginal(nn.Module):
    """The ResNeXt+LSTM network of the reference project, its mistakes included.

    The fourth positional argument of nn.LSTM is ``bias``; it is not batch_first, so that a batch of one clip is T sequences of
    length 1; the last of them is the clip's.
    """

    def __init__(self) -> None:
        super().__init__()
        net = ResNeXt50()
        self.model = nn.Sequential(*net.children())
        self.lstm = nn.LSTM(2048, 2048, 1, False)
        self.linear1 = nn.Linear(2048, 2)

    def features(self, crops: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB -> (T, 2048)."""
        pictures = (crops.permute(0, 3, 1, 2).float() / 255 - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[
            :, None, None
        ]
        return nn.functional.adaptive_avg_pool2d(self.model(pictures), 1).flatten(1)

    def judge(self, features: Tensor) -> Tensor:
        """(T, 2048) -> probabilities of the two classes (2,)."""
        outputs, _ = self.lstm(features.view(1, len(features), 2048))
        return torch.softmax(self.linear1(outputs[:, -1, :]), 1)[0]


def original(seed: int = SEED) -> ServedOriginal:
    """Seeded weights, spread so that clips differ visibly in their score."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with torch.no_grad():
            network = ServedOriginal()
            # uniform_ instead of normal_: a quarter of the time for 33 million numbers.
            network.lstm.get_parameter("weight_ih_l0").uniform_(-0.3, 0.3)
            network.lstm.get_parameter("weight_hh_l0").uniform_(-0.05, 0.05)
            network.linear1.weight.uniform_(-0.2, 0.2)
    return network.eval()


def save_reference(network: nn.Module, path: Path, *, prefix: str = "", wrap: bool = False) -> Path:
    """``torch.save`` of the state_dict, bare or as training scripts wrap it."""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if wrap else state, path)
    return path


def image_checkpoint(path: Path, seed: int = SEED) -> Path:
    """torchvision's ResNeXt-50 with two outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = dict(ResNeXt50().state_dict())
        state["fc.weight"], state["fc.bias"] = torch.randn(2, 2048), torch.randn(2)
    torch.save(state, path)
    return path
