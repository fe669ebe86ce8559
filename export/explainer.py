"""Writes a detector's explainer into a model repository, and takes it out.

Three models beside the detector's, named after it: ``<explainer>_maps`` (the encoder's fp32 graph, the same file by a hard link, asked for
its feature maps), ``<explainer>_gradient`` (``export.gradient_graph``) and the ensemble. They compute in fp32 in every profile: a map of
where a network looked is worth something if it is that network's, and nobody asks for thousands a second. The detector's own
models know nothing of them.
"""

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from client.model_info import ModelInfo, explainer_name
from export import contents
from export.contents import content_of, content_sha256, detectors, latest_version
from export.detector import ClipHead, FrameEncoder
from export.errors import LiveError, ParityError, RepositoryError
from export.explainer_configs import explainer_config, gradient_config, maps_config
from export.gradient_graph import MAPS, export_gradient
from export.graphs import FILES, FRAMES
from export.live import LiveServer
from export.locks import exporting, replacing
from export.model_configs import write_profiles
from export.place import delete_models, share, staging_for

logger = logging.getLogger("unmask.export")
LENGTHS = (1, 2, 7, 16, 60)
TOLERANCE = 1e-4
"""Largest difference from PyTorch's automatic differentiation, relative to the largest value of the clip; measured: 1e-5."""


@dataclass(frozen=True, slots=True)
class WrittenExplainer:
    """What an export left in the repository."""

    repository: Path
    name: str
    differences: Mapping[int, float]
    """Largest relative difference from PyTorch by clip length; empty where it was there already, unchanged."""


def models_of(detector: str) -> tuple[str, str, str]:
    """Names of an explainer's models: maps, gradient, and the ensemble last."""
    name = explainer_name(detector)
    return f"{name}_maps", f"{name}_gradient", name


def write_explainer(
    encoder: FrameEncoder, head: nn.Module, info: ModelInfo, repository: Path, *, live: LiveServer | None = None
) -> WrittenExplainer:
    """Builds the explainer of a detector that is in ``repository``, compares it with PyTorch, and puts it there.

    Raises:
        ExportError: A kind of head that cannot be explained.
        ParityError: The graphs differ from PyTorch; nothing was written.
        RepositoryError: The detector is not there, or the repository cannot be written.
        LiveError: The server refused.
    """
    clip_head = ClipHead(head, temperature=info.temperature).eval()
    maps, gradient, name = models_of(info.detector)
    with exporting(repository), staging_for(repository) as staging:
        installed = next((found for found in detectors(repository) if found.info.detector == info.detector), None)
        if installed is None or installed.info != info:
            raise RepositoryError(f"{repository} has no detector {info.detector!r} of these weights; export it first")
        source = repository / installed.models[0]
        graph = source / str(latest_version(source)) / FILES["fp32"]
        facts = {"encoder": content_of(source), "detector": info.detector, "temperature": info.temperature}
        sha256 = content_sha256(clip_head, semantics=clip_head.semantics, **facts)
        if content_of(repository / name) == sha256 and _is_whole(repository, info.detector):
            if live is not None:
                for model in (maps, gradient, name):
                    live.load(model)
            return WrittenExplainer(repository, name, {})
        try:
            for model in (maps, gradient, name):
                (staging / model / "1").mkdir(parents=True)
            share(graph, staging / maps / "1" / FILES["fp32"])
            export_gradient(clip_head, staging / gradient / "1" / FILES["fp32"], image_size_px=info.image_size_px)
            differences = compare(
                encoder.eval(), clip_head, graph, staging / gradient / "1" / FILES["fp32"], image_size_px=info.image_size_px
            )
            if failed := {length: found for length, found in differences.items() if not found <= TOLERANCE}:
                raise ParityError(
                    f"the explainer's maps differ from PyTorch by {json.dumps(failed)} of the largest value (by clip length); the limit "
                    f"is {TOLERANCE:g}. Nothing was written."
                )
            contents.write_content(staging / name / "1", sha256)
            write_explainer_configs(staging, info)
            _swap(staging, repository, (maps, gradient, name), live)
        except OSError as error:
            raise RepositoryError(
                f"cannot write to {repository}: {error.strerror or error}; no explainer was written"
            ) from error
    return WrittenExplainer(repository, name, differences)


def write_explainer_configs(repository: Path, info: ModelInfo) -> None:
    """Writes the configurations of an explainer's models, one a profile."""
    maps, gradient, name = models_of(info.detector)
    ensemble = partial(explainer_config, maps=maps, gradient=gradient)
    for model, config in ((maps, maps_config), (gradient, gradient_config), (name, ensemble)):
        write_profiles(repository / model, partial(config, model, info))


def drop_explainer(detector: str, repository: Path, *, live: LiveServer | None = None) -> bool:
    """``remove_explainer`` for a caller that does not hold the repository."""
    with exporting(repository):
        return remove_explainer(detector, repository, live=live)


def remove_explainer(detector: str, repository: Path, *, live: LiveServer | None = None) -> bool:
    """Takes a detector's explainer out, where there is one; the caller holds the repository.

    Raises:
        RepositoryBusy: A server runs on it and ``live`` is None.
        LiveError: The server refused; the files are untouched.
    """
    *parts, name = models_of(detector)
    there = tuple(model for model in (name, *parts) if (repository / model).is_dir())
    if not there:
        return False
    if live is not None:
        for model in there:
            live.unload(model)
        delete_models(repository, there)
    else:
        with replacing(repository):
            delete_models(repository, there)
    return True


def compare(
    encoder: FrameEncoder, head: ClipHead, encoder_path: Path, gradient_path: Path, *, image_size_px: int
) -> dict[int, float]:
    """Runs the graphs, and PyTorch with automatic differentiation, on the same seeded random frames, end to end."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    first = ort.InferenceSession(str(encoder_path), options, providers=["CPUExecutionProvider"])
    second = ort.InferenceSession(str(gradient_path), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    found = {}
    for length in LENGTHS:
        frames = random.integers(0, 256, (length, image_size_px, image_size_px, 3), dtype=np.uint8)
        expected = gradcam(encoder, head, torch.from_numpy(frames)).numpy()
        (maps,) = first.run([MAPS], {FRAMES: frames})
        (evidence,) = second.run(["EVIDENCE"], {MAPS: maps})
        found[length] = float(np.abs(evidence - expected).max() / max(np.abs(expected).max(), 1e-30))
    return found


def gradcam(encoder: FrameEncoder, head: ClipHead, frames: torch.Tensor) -> torch.Tensor:
    """Grad-CAM before its ReLU, by hooks and automatic differentiation: (T, H, W, 3) uint8 -> (T, S, S).

    What the graphs are compared with; of the clip's logit, fake minus real.
    """
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = encoder.backbone.get_submodule("layer4").register_forward_hook(keep)
    try:
        with torch.no_grad(), torch.enable_grad():
            logits = head.head(encoder(frames))
            pooled = logits[-1] if head.semantics == "reference_last_frame" else logits.mean(0)
            (gradient,) = torch.autograd.grad(pooled[1] - pooled[0], kept[0])
    finally:
        handle.remove()
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * kept[0]).sum(1).detach()


def _is_whole(repository: Path, detector: str) -> bool:
    *parts, _ = models_of(detector)
    return all((repository / model / "1" / FILES["fp32"]).is_file() for model in parts)


def _swap(staging: Path, repository: Path, models: tuple[str, ...], live: LiveServer | None) -> None:
    """Moves what was staged into place; on a server there is no explainer for that moment.

    The ensemble goes first and comes last: a server that finds one without its parts does not start.
    """
    backwards = models[::-1]
    there = tuple(model for model in backwards if latest_version(repository / model))
    with replacing(repository) if there and live is None else contextlib.nullcontext():
        if live is not None:
            for model in there:
                live.unload(model)
        delete_models(repository, backwards)  # configurations of an unbuilt checkout, too
        for model in models:
            (staging / model).rename(repository / model)
    if live is not None:
        try:
            for model in models:
                live.load(model)
        except LiveError:
            # Left there, it would keep the server from starting the next time.
            delete_models(repository, backwards)
            raise
