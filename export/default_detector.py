"""The detector that a fresh checkout serves: seeded, untrained, and saying so."""

import hashlib

import torch
from torch import nn

from client.model_info import ModelInfo
from export.detector import FrameEncoder, SequenceHead
from export.resnext import ResNeXt50

SEED = 20261120


def weights_sha256(*modules: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
        detector="deepfake_detector",
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
