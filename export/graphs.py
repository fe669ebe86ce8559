"""PyTorch modules -> ONNX files with a dynamic number of frames. INT8 files are made of these by ``export.quantize``."""

import copy
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from export.resnext import FEATURES

Precision = Literal["fp32", "fp16", "int8"]
OPSET = 17
FRAMES, FEATURES_NAME = "FRAMES", "FEATURES"
HEAD_OUTPUTS = ("CLIP_PROBABILITY", "FRAME_PROBABILITIES", "FRAME_LOGITS")
FILES: dict[Precision, str] = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
"""File of each precision inside a version folder. Inputs and outputs are FP32 (frames: UINT8) in all of them."""


def export_encoder(encoder: nn.Module, path: Path, *, image_size_px: int, precision: Literal["fp32", "fp16"] = "fp32") -> None:
    """Writes frames (T, H, W, 3) uint8 -> features (T, 2048) float32."""
    example = torch.randint(0, 256, (2, image_size_px, image_size_px, 3), dtype=torch.uint8)
    axes = {FRAMES: {0: "T"}, FEATURES_NAME: {0: "T"}}
    _export(encoder, example, path, inputs=(FRAMES,), outputs=(FEATURES_NAME,), axes=axes, precision=precision)


def export_head(head: nn.Module, path: Path, *, precision: Literal["fp32", "fp16"] = "fp32") -> None:
    """Writes features (T, 2048) float32 -> CLIP_PROBABILITY (1,), FRAME_PROBABILITIES (T,), FRAME_LOGITS (T, 2)."""
    axes = {FEATURES_NAME: {0: "T"}, "FRAME_PROBABILITIES": {0: "T"}, "FRAME_LOGITS": {0: "T"}}
    _export(head, torch.randn(7, FEATURES), path, inputs=(FEATURES_NAME,), outputs=HEAD_OUTPUTS, axes=axes, precision=precision)


def _export(
    module: nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
    precision: Literal["fp32", "fp16"],
) -> None:
    module = copy.deepcopy(module).eval()
    if precision == "fp16":
        module = module.half()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter, although torch prefers the new one: torch.export specialises an LSTM to the example's length and writes
        # (7, 2) as the shape of FRAME_LOGITS. The warnings are its deprecation and a note on LSTM batch sizes, which is 1 here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
