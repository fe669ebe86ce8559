"""What the frame stage minimises, on scores that are given."""

import torch
from torch import Tensor

from training.batches import FrameBatch
from training.losses import LossWeights, frame_loss


def parts_of(real: list[float], fake: list[float], quality: list[tuple[float, float]] | None = None) -> dict[str, float]:
    """The loss's parts for margins of genuine pictures and of their fakes."""
    count = len(real)
    margins = torch.tensor(real + fake)
    batch = FrameBatch(
        frames=torch.zeros(2 * count, 16, 16, 3, dtype=torch.uint8),
        masks=torch.zeros(2 * count, 16, 16),
        labels=torch.tensor([0] * count + [1] * count),
        weights=torch.ones(2 * count),
        quality=torch.tensor(quality or [(0.0, 0.0)] * count),
    )
    maps: list[Tensor] = [torch.zeros(2 * count, 2, 2, 2)]
    loss, parts = frame_loss(torch.stack([torch.zeros_like(margins), margins], 1), maps, batch, LossWeights(rank=1.0))
    expected = parts["classification"] + 0.7 * parts["maps"] + parts["order"] + parts["rank"] + 0.1 * parts["quality"]
    assert abs(float(loss) - expected) < 1e-5
    return parts


def test_ranking_asks_for_scores_that_can_be_compared_across_pictures() -> None:
    within = parts_of([-5.0, 3.0], [-3.0, 5.0])
    across = parts_of([-4.0, -2.0], [-2.0, 0.0])
    assert abs(within["order"] - across["order"]) < 1e-6
    assert across["rank"] < 0.5 * within["rank"]


def test_quality_counts_where_genuine_scores_follow_it() -> None:
    sizes = [(4.0, 0.0), (5.0, 0.0), (6.0, 0.0), (7.0, 0.0)]
    follows = parts_of([0.0, 1.0, 2.0, 3.0], [1.0] * 4, sizes)
    free = parts_of([1.0, -1.0, -1.0, 1.0], [1.0] * 4, sizes)
    assert follows["quality"] > 0.45
    assert free["quality"] < 0.01
