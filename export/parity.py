"""Compares exported graphs with PyTorch before anything is written to a repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from export.errors import ParityError
from export.graphs import FEATURES_NAME, FRAMES

LENGTHS = (1, 2, 7, 16, 60, 100)
"""Clip lengths (frames) that are compared: the edges, odd ones, and those that people use."""
TOLERANCE_FP32 = 1e-4
"""Largest |difference| of logits that fp32 graphs may show; measured: about 1e-6."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Largest differences at one clip length."""

    frames: int
    logits: float
    probabilities: float


def compare(
    encoder: nn.Module,
    head: nn.Module,
    encoder_path: Path,
    head_path: Path,
    *,
    image_size_px: int,
    lengths: Sequence[int] = LENGTHS,
) -> list[Comparison]:
    """Runs PyTorch and ONNX Runtime (CPU) on the same seeded random frames, end to end."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    encoder_session = ort.InferenceSession(str(encoder_path), options, providers=["CPUExecutionProvider"])
    head_session = ort.InferenceSession(str(head_path), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    comparisons = []
    for length in lengths:
        frames = random.integers(0, 256, (length, image_size_px, image_size_px, 3), dtype=np.uint8)
        with torch.inference_mode():
            clip, _, logits = head(encoder(torch.from_numpy(frames)))
        (features,) = encoder_session.run([FEATURES_NAME], {FRAMES: frames})
        clip_onnx, logits_onnx = head_session.run(["CLIP_PROBABILITY", "FRAME_LOGITS"], {FEATURES_NAME: features})
        comparisons.append(
            Comparison(
                frames=length,
                logits=float(np.abs(logits_onnx - logits.numpy()).max()),
                probabilities=float(np.abs(clip_onnx - clip.numpy()).max()),
            )
        )
    return comparisons


def require(comparisons: Sequence[Comparison], *, tolerance: float = TOLERANCE_FP32) -> None:
    """Gathers every length that fails, then raises.

    Raises:
        ParityError: The logits differ by more than ``tolerance`` (or are not numbers) at some length.
    """
    failed = [comparison for comparison in comparisons if not comparison.logits <= tolerance]
    if failed:
        found = ", ".join(f"{comparison.logits:.2g} at T={comparison.frames}" for comparison in failed)
        raise ParityError(
            f"the graphs differ from PyTorch: logits by {found}; the limit is {tolerance:g}. Nothing was written."
        )
