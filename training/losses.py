"""What the frame stage minimises."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.batches import FrameBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Shares of the loss's parts."""

    maps: float = 0.7
    order: float = 1.0
    """Each fake above its own genuine picture: what teaches first, since all but the manipulation is the same."""
    rank: float = 0.0
    """Each fake above every genuine picture of the batch: what makes the scores of different pictures comparable, once pairs are
    told apart. A smooth stand-in for the AUC."""
    quality: float = 0.1
    smoothing: float = 0.0


def frame_loss(
    logits: Tensor, maps: Sequence[Tensor], batch: FrameBatch, weights: LossWeights
) -> tuple[Tensor, dict[str, float]]:
    """Classification, maps, order within pairs and across them, and independence of the pictures' quality.

    Returns:
        The loss, and its parts by name.
    """
    logits = logits.float()
    each = functional.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=weights.smoothing)
    classification = (each * batch.weights).sum() / batch.weights.sum()
    located = torch.stack([_map_loss(out.float(), batch.masks) for out in maps]).mean()
    margin = logits[:, 1] - logits[:, 0]
    half = len(batch.quality)
    apart = functional.softplus(margin[:half, None] - margin[None, half:])
    seen = batch.weights[half:] / batch.weights[half:].sum().clamp_min(1e-3)
    order, rank = apart.diagonal() @ seen, apart.mean(0) @ seen
    follows = _squared_correlation(margin[:half], batch.quality)
    loss = classification + weights.maps * located + weights.quality * follows
    loss = loss + weights.order * order + weights.rank * rank
    parts = {
        "classification": float(classification.detach()),
        "maps": float(located.detach()),
        "order": float(order.detach()),
        "rank": float(rank.detach()),
        "quality": float(follows.detach()),
    }
    return loss, parts


def _map_loss(out: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of share and of edge (4 m (1 - m), Face X-ray)."""
    size = (out.shape[2], out.shape[3])
    share = functional.adaptive_avg_pool2d(masks.unsqueeze(1), size)
    strongest = masks.amax((1, 2)).clamp_min(1e-6).view(-1, 1, 1)
    relative = masks / strongest
    edge = functional.adaptive_avg_pool2d((4 * relative * (1 - relative)).unsqueeze(1), size)
    return functional.binary_cross_entropy_with_logits(out, torch.cat([share, edge], 1))


def _squared_correlation(scores: Tensor, quality: Tensor) -> Tensor:
    """Mean squared Pearson correlation of genuine pictures' scores (N,) with each measure of quality (N, K)."""
    centred = scores - scores.mean()
    measures = quality - quality.mean(0)
    # The spread is a constant here: else the cheapest way down would be to spread the scores.
    spread = centred.detach().pow(2).sum().sqrt() * measures.pow(2).sum(0).sqrt()
    return ((centred @ measures) / (spread + 1e-3)).pow(2).mean()
