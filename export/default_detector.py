"""The detector that a fresh checkout serves: the weights in ``weights/``, or seeded, untrained ones that say so."""

import contextlib
import itertools
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from client.model_info import DEFAULT_DETECTOR, ModelInfo, Semantics
from export.contents import weights_sha256
from export.detector import FrameEncoder, SequenceHead
from export.errors import FactError
from export.facts import Flags
from export.load import default_weights, load_detector
from export.resnext import ResNeXt50

SEED = 20261120


def default_detector() -> tuple[FrameEncoder, nn.Module, ModelInfo, Path | None]:
    """The detector that is built where no checkpoint is named, and its file; None for seeded weights.

    Raises:
        CheckpointError: The weights in ``weights/`` cannot be used.
    """
    weights = default_weights()
    if weights is None:
        return *untrained_detector(), None
    loaded = load_detector(weights, Flags(name=DEFAULT_DETECTOR))
    return loaded.encoder, loaded.head, loaded.info, weights


def detector_of(weights_sha256: str, *, checkpoint: Path | None = None) -> tuple[FrameEncoder, nn.Module, ModelInfo] | None:
    """The detector that has these weights (``ModelInfo.weights_sha256``): the shipped one, the seeded one, or that of a checkpoint.

    Args:
        weights_sha256: What a model repository says of its detector.
        checkpoint: A file that the repository may have been made of. How its head is run and which output means fake need not be
            said: whatever gives these weights is it.

    Returns:
        None where none of them has these weights.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is of an unknown network.
    """
    for encoder, head, info in (default_detector()[:3], untrained_detector()):
        if info.weights_sha256 == weights_sha256:
            return encoder, head, info
    if checkpoint is None:
        return None
    for classes, semantics in itertools.product(("real,fake", "fake,real"), get_args(Semantics)):
        with contextlib.suppress(FactError):
            loaded = load_detector(checkpoint, Flags(classes=classes, semantics=semantics))
            if loaded.info.weights_sha256 == weights_sha256:
                return loaded.encoder, loaded.head, loaded.info
    return None


def untrained_detector() -> tuple[FrameEncoder, SequenceHead, ModelInfo]:
    """Seeded weights in the served architecture, with metadata that calls them untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder, head = FrameEncoder(ResNeXt50()), SequenceHead()
        # Default initialisation leaves the head blind (logits within 0.02 of each other); spread it, so that the order of frames
        # and the difference between clips show in the scores.
        nn.init.normal_(head.lstm.get_parameter("weight_ih_l0"), std=0.2)
        nn.init.normal_(head.linear1.weight, std=0.5)
    info = ModelInfo(
        detector=DEFAULT_DETECTOR,
        semantics="sequence",
        trained=False,
        training_data="none: seeded random weights",
        accuracy=None,
        accuracy_data="",
        training_frames=(),
        image_size_px=112,
        crop_margin=1.3,
        class_order=("real", "fake"),
        max_frames=256,
        temperature=1.0,
        threshold=0.5,
        abstain_low=0.5,
        abstain_high=0.5,
        weights_sha256=weights_sha256(encoder, head),
        caveat="The weights are random: the scores mean nothing.",
    )
    return encoder.eval(), head.eval(), info
