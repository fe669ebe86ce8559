"""A whole run: both stages, calibration, weights. Each part is kept, so that a stopped run goes on where it was."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from client.model_info import ModelInfo
from common.files import written_whole
from export.detector import SequenceHead
from export.load import load_detector, save_detector
from training import checkpoints
from training.calibrate import Calibration, calibrate
from training.clips import FRAME_KINDS, TEMPORAL_KINDS, ClipMaker
from training.errors import CheckpointWriteError, EmptyClassError
from training.features import kept_features, made_of
from training.fit_clips import (
    GENUINE_VARIANTS,
    ClipFitSettings,
    FeatureClip,
    fit_head,
    head_auc,
    head_of_classifier,
    make_feature_clips,
    make_genuine_clips,
    margins,
)
from training.fit_frames import FrameFit, FrameFitSettings
from training.frame_model import FrameModel, without_idle_blocks
from training.manifest import check_people
from training.pairs import PairMaker, PairOptions
from training.shards import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Everything that decides a run's result."""

    frames: FrameFitSettings
    clips: ClipFitSettings = field(default_factory=ClipFitSettings)
    hidden_sizes: tuple[int, ...] = (128,)
    """Sizes of the LSTM that are tried; the best validation AUC wins, of equals within 0.002 the smaller."""
    train_clip_pairs: int = 240
    val_clip_pairs: int = 100
    clip_frames: tuple[int, int] = (12, 20)
    clip_severity: float = 0.7
    validation_pairs: int = 96
    """Pairs of each of the four sets that stage one is validated on."""


class FrameValidation:
    """Frame AUC on pairs of the validation people, made once: self-blended (whole faces) and swapped, lightly and fully degraded."""

    def __init__(self, records: Sequence[Record], settings: FrameFitSettings, *, pairs: int, device: str = "cpu") -> None:
        maker, self._device = PairMaker(records), device
        self._sets: dict[str, NDArray[np.uint8]] = {}
        for kind, share in (("self_blend", 0.0), ("swap", 1.0)):
            for degree, severity in (("light", 0.3), ("full", 1.0)):
                options = PairOptions(
                    image_size_px=settings.image_size_px, crop_margin=settings.crop_margin, swap_share=share, part_share=0.0,
                    severity=severity,
                )  # fmt: skip
                made = [maker.make(np.random.default_rng((7, number)), options) for number in range(pairs)]
                self._sets[f"auc_{kind}_{degree}"] = np.concatenate(
                    [np.stack([pair.crops[label] for pair in made]) for label in (0, 1)]
                )

    @torch.no_grad()
    def __call__(self, model: FrameModel) -> dict[str, float]:
        """AUC by set, and their mean as ``auc``."""
        from sklearn.metrics import roc_auc_score

        model = model.to(self._device).eval()
        encoder = without_idle_blocks(model.encoder)
        out: dict[str, float] = {}
        for name, crops in self._sets.items():
            parts = []
            for start in range(0, len(crops), 32):
                with torch.autocast(self._device, torch.bfloat16):
                    features = encoder(torch.from_numpy(crops[start : start + 32]).to(self._device))
                logits = model.classifier(features.float()).cpu()
                parts.append(logits[:, 1] - logits[:, 0])
            out[name] = float(roc_auc_score(np.repeat([0, 1], len(crops) // 2), torch.cat(parts).numpy()))
        return out | {"auc": float(np.mean(list(out.values())))}


def of_split(records: Sequence[Record], split: str) -> list[Record]:
    """Records of one split.

    Raises:
        EmptyClassError: None of them is genuine; fakes are made of genuine ones.
    """
    found = [record for record in records if record.split == split]
    if not any(record.label == "real" for record in found):
        raise EmptyClassError(
            f"split {split!r} has {len(found)} of {len(records)} pictures and no genuine one among them; collect some for it"
        )
    return found


def fit_frames_stage(
    records: Sequence[Record], settings: RunSettings, folder: Path, *, device: str = "cpu", workers: int = 1,
    compiled: bool = False, **options: Any,
) -> FrameModel:  # fmt: skip
    """Stage one, resumed where it was stopped; options as for ``FrameFit.run``.

    Raises:
        LeakError: A person is in two splits, as may be where shards of several collections lie in one folder.
        EmptyClassError: A split has no genuine pictures.
        TrainingError: See ``FrameFit.run``.
    """
    for split in ("train", "val"):
        # Stage two would miss them only hours later.
        ClipMaker(of_split(records, split))
    check_people((record.dataset, record.identity.split("+"), record.split, record.source) for record in records)
    fit = FrameFit(settings=settings.frames, folder=folder, device=device, workers=workers, compiled=compiled)
    validation = FrameValidation(of_split(records, "val"), settings.frames, pairs=settings.validation_pairs, device=device)
    fit.run(PairMaker(of_split(records, "train")), validate=validation, **options)
    return best_frame_model(folder)


def best_frame_model(folder: Path) -> FrameModel:
    """The moving average at its best validation AUC.

    Raises:
        CheckpointError: There is none.
    """
    model = FrameModel()
    model.load_state_dict(checkpoints.load(folder / "frames_best.pt")["model"])
    return model.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipStage:
    """What stage two found."""

    head: SequenceHead
    calibration: Calibration
    val_auc: float
    accuracy: float
    by_hidden_size: dict[int, float]


def fit_clips_stage(
    model: FrameModel, records: Sequence[Record], settings: RunSettings, folder: Path, *, device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> ClipStage:  # fmt: skip
    """Stage two: features of clips (kept in the folder), the head, calibration on validation clips.

    Args:
        progress: Told clips done and clips in all while their features are made, once for each split.
    """
    encoder = without_idle_blocks(model.encoder)
    sets: dict[str, list[FeatureClip]] = {}
    size_px, margin = settings.frames.image_size_px, settings.frames.crop_margin
    for number, (split, pairs) in enumerate((("train", settings.train_clip_pairs), ("val", settings.val_clip_pairs))):
        part, seed = of_split(records, split), settings.clips.seed + number
        maker = ClipMaker(part)
        kinds = maker.makeable((*FRAME_KINDS, *TEMPORAL_KINDS))
        sets[split] = kept_features(
            folder / f"features_{split}.npz",
            made_of(encoder, part, kinds, pairs, settings.clip_frames, seed, settings.clip_severity, size_px, margin),
            partial(
                make_feature_clips, encoder, maker, kinds, pairs=pairs, frames=settings.clip_frames, seed=seed,
                severity=settings.clip_severity, image_size_px=size_px, crop_margin=margin, device=device, progress=progress,
            ),
        )  # fmt: skip
    part = of_split(records, "val")
    videos = ClipMaker(part)
    further: list[FeatureClip] = []
    if videos.videos:
        further = kept_features(
            folder / "features_genuine.npz",
            made_of(encoder, part, GENUINE_VARIANTS, size_px, margin),
            partial(make_genuine_clips, encoder, videos, image_size_px=size_px, crop_margin=margin, device=device),
        )
    tried: dict[int, tuple[SequenceHead, float]] = {}
    for size in sorted(settings.hidden_sizes):
        start = head_of_classifier(model.classifier, size, settings.clips.seed)
        head, history = fit_head(start, sets["train"], sets["val"], settings.clips)
        tried[size] = (head, head_auc(head, sets["val"]))
        checkpoints.write_text(folder / f"clips_history_{size}.json", json.dumps(history))
        logger.info("LSTM of %d: validation AUC %.4f (frame mean %.4f)", size, tried[size][1], history[0]["val_auc"])
    top = max(auc for _, auc in tried.values())
    head, auc = next(entry for _, entry in sorted(tried.items()) if entry[1] >= top - 0.002)
    labels = np.array([clip.label for clip in sets["val"]])
    values = margins(head, sets["val"])
    calibration = calibrate(values, labels, genuine_margins=margins(head, further) if further else None)
    called = 1 / (1 + np.exp(-values / calibration.temperature)) >= calibration.threshold
    return ClipStage(
        head=head, calibration=calibration, val_auc=auc, accuracy=float((called == labels).mean()),
        by_hidden_size={size: value for size, (_, value) in tried.items()},
    )  # fmt: skip


def caveat_of(stage: ClipStage) -> str:
    """What has to be said wherever a verdict of these weights is shown."""
    return (
        "Trained and measured on fakes made of real faces only "
        f"(validation clip AUC {stage.val_auc:.2f} over all kinds, 0.5 is chance); no clip that somebody else manipulated was seen. "
        "Measure it on your own data before you rely on it."
    )


def write_run_weights(
    path: Path,
    model: FrameModel,
    stage: ClipStage,
    settings: RunSettings,
    *,
    training_data: str,
    caveat: str,
    trained: bool = True,
) -> ModelInfo:
    """``weights/``'s two files, with the facts of the run."""
    info = ModelInfo(
        detector="deepfake_detector", semantics="sequence", trained=trained, training_data=training_data, accuracy=round(stage.accuracy, 4),
        accuracy_data="validation clips made of faces that were not trained on; they also chose the threshold",
        training_frames=(), class_order=("real", "fake"),
        image_size_px=settings.frames.image_size_px, crop_margin=settings.frames.crop_margin, max_frames=256, weights_sha256="",
        caveat=caveat, **asdict(stage.calibration),
    )  # fmt: skip
    try:
        save_detector(path, model.encoder, stage.head, info)
        # What people read; programs read the same from the weights themselves.
        written = load_detector(path).info
        with written_whole(path.with_suffix(".json")) as beside:
            beside.write_text(json.dumps(asdict(written), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointWriteError(f"{path} cannot be written: {error}; free some room or name another file") from error
    return written
