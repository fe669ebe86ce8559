"""The average of the weights over the last steps: what is validated and kept."""

import torch
from torch import nn

from training.frame_model import FrameModel


class MovingAverage:
    """Exponential moving average of a model's state, batch statistics included."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes a step's weights in; in the beginning the average is short."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def averaged(average: MovingAverage) -> FrameModel:
    """The moving average as a model, ready to be evaluated."""
    model = FrameModel()
    model.load_state_dict(average.state)
    return model.eval()
