"""Writes a detector into a model repository: graphs and configurations of its three models, all or nothing."""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from client.model_info import ModelInfo
from export import model_configs
from export.detector import ClipHead, FrameEncoder
from export.errors import RepositoryError
from export.graphs import FILES, export_encoder, export_head
from export.model_configs import PROFILES, to_text
from export.parity import Comparison, compare, require

logger = logging.getLogger("unmask.export")
ENCODER, HEAD = "frame_encoder", "clip_head"


@dataclass(frozen=True, slots=True)
class Written:
    """What an export left in the repository."""

    repository: Path
    models: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def write_detector(encoder: FrameEncoder, head: nn.Module, info: ModelInfo, repository: Path) -> Written:
    """Exports, compares with PyTorch, and only then moves the three models into ``repository``.

    Raises:
        ParityError: The graphs do not compute what PyTorch computes.
        RepositoryError: The repository cannot be written.
    """
    clip_head = ClipHead(head, temperature=info.temperature).eval()
    encoder = encoder.eval()
    try:
        repository.mkdir(parents=True, exist_ok=True)
        # Beside the repository, so that moving into it is one rename on one file system and a server never sees half a model.
        staging = Path(tempfile.mkdtemp(prefix=f".{repository.name}-", dir=repository.resolve().parent))
    except OSError as error:
        raise RepositoryError(f"cannot write to {repository}: {error.strerror}; choose another with --repository") from error
    try:
        try:
            for model in (ENCODER, HEAD, info.detector):
                (staging / model / "1").mkdir(parents=True)
            for precision, filename in FILES.items():
                logger.info("exporting %s", precision)
                export_encoder(
                    encoder, staging / ENCODER / "1" / filename, image_size_px=info.image_size_px, precision=precision
                )
                export_head(clip_head, staging / HEAD / "1" / filename, precision=precision)
            comparisons = compare(
                encoder, clip_head, staging / ENCODER / "1" / FILES["fp32"], staging / HEAD / "1" / FILES["fp32"],
                image_size_px=info.image_size_px,
            )  # fmt: skip
            require(comparisons)
            write_configs(staging, info)
            for model in (ENCODER, HEAD, info.detector):
                _replace(staging / model, repository / model)
        except OSError as error:
            raise RepositoryError(f"cannot write to {repository}: {error.strerror or error}; nothing was changed") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Written(repository, (ENCODER, HEAD, info.detector), tuple(comparisons))


def write_configs(repository: Path, info: ModelInfo) -> None:
    """Writes the configurations of the three models, one a profile."""
    for profile in PROFILES:
        configs: dict[str, Any] = {
            ENCODER: model_configs.encoder_config(ENCODER, info, profile),
            HEAD: model_configs.head_config(HEAD, info, profile),
            info.detector: model_configs.ensemble_config(info.detector, info, profile, encoder=ENCODER, head=HEAD),
        }
        for model, config in configs.items():
            folder = repository / model
            path = folder / "config.pbtxt" if profile == "reference" else folder / "configs" / f"{profile}.pbtxt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(to_text(config))


def _replace(new: Path, old: Path) -> None:
    """Puts a finished model in the place of an older one; the older one comes back if that fails."""
    aside = new.with_name(f"{new.name}.replaced")
    if old.exists():
        old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        if aside.exists():
            aside.rename(old)
        raise
