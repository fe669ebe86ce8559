"""A whole run: both stages, calibration, weights. Each part is kept, so that a stopped run goes on where it was."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from client.model_info import ModelInfo
from export.detector import SequenceHead
from export.load import load_detector, save_detector
from training import checkpoints
from training.calibrate import Calibration, calibrate
from training.clips import FRAME_KINDS, TEMPORAL_KINDS, ClipMaker
from training.errors import CheckpointError, CheckpointWriteError
from training.fit_clips import (
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
    """Frame AUC on pairs of the validation people, made once: self-blended and swapped, lightly and fully degraded."""

    def __init__(self, records: Sequence[Record], settings: FrameFitSettings, *, pairs: int, device: str = "cpu") -> None:
        maker, self._device = PairMaker(records), device
        self._sets: dict[str, NDArray[np.uint8]] = {}
        for kind, share in (("self_blend", 0.0), ("swap", 1.0)):
            for degree, severity in (("light", 0.3), ("full", 1.0)):
                options = PairOptions(
                    image_size_px=settings.image_size_px, crop_margin=settings.crop_margin, swap_share=share, severity=severity
                )
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
    """Records of one split."""
    return [record for record in records if record.split == split]


def fit_frames_stage(
    records: Sequence[Record], settings: RunSettings, folder: Path, *, device: str = "cpu", workers: int = 1, **options: Any
) -> FrameModel:
    """Stage one, resumed where it was stopped; options as for ``FrameFit.run``."""
    fit = FrameFit(settings=settings.frames, folder=folder, device=device, workers=workers)
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
    model: FrameModel, records: Sequence[Record], settings: RunSettings, folder: Path, *, device: str = "cpu"
) -> ClipStage:
    """Stage two: features of clips (kept in the folder), the head, calibration on validation clips."""
    kinds = (*FRAME_KINDS, *TEMPORAL_KINDS)
    encoder = without_idle_blocks(model.encoder)
    sets: dict[str, list[FeatureClip]] = {}
    for number, (split, pairs) in enumerate((("train", settings.train_clip_pairs), ("val", settings.val_clip_pairs))):
        path = folder / f"features_{split}.npz"
        if not path.exists():
            clips = make_feature_clips(
                encoder, ClipMaker(of_split(records, split)), kinds, pairs=pairs, frames=settings.clip_frames,
                seed=settings.clips.seed + number, severity=settings.clip_severity, image_size_px=settings.frames.image_size_px,
                crop_margin=settings.frames.crop_margin, device=device,
            )  # fmt: skip
            write_features(path, clips)
        sets[split] = read_features(path)
    path = folder / "features_genuine.npz"
    videos = ClipMaker(of_split(records, "val"))
    if not path.exists() and videos.videos:
        genuine = make_genuine_clips(
            encoder, videos, image_size_px=settings.frames.image_size_px, crop_margin=settings.frames.crop_margin, device=device
        )
        write_features(path, genuine)
    tried: dict[int, tuple[SequenceHead, float]] = {}
    for size in sorted(settings.hidden_sizes):
        start = head_of_classifier(model.classifier, size, settings.clips.seed)
        head, history = fit_head(start, sets["train"], sets["val"], settings.clips)
        tried[size] = (head, head_auc(head, sets["val"]))
        (folder / f"clips_history_{size}.json").write_text(json.dumps(history))
        logger.info("LSTM of %d: validation AUC %.4f (frame mean %.4f)", size, tried[size][1], history[0]["val_auc"])
    top = max(auc for _, auc in tried.values())
    head, auc = next(entry for _, entry in sorted(tried.items()) if entry[1] >= top - 0.002)
    labels = np.array([clip.label for clip in sets["val"]])
    values = margins(head, sets["val"])
    further = margins(head, read_features(path)) if path.exists() else None
    calibration = calibrate(values, labels, genuine_margins=further)
    called = 1 / (1 + np.exp(-values / calibration.temperature)) >= calibration.threshold
    return ClipStage(
        head=head, calibration=calibration, val_auc=auc, accuracy=float((called == labels).mean()),
        by_hidden_size={size: value for size, (_, value) in tried.items()},
    )  # fmt: skip


def write_features(path: Path, clips: Sequence[FeatureClip]) -> None:
    """Keeps feature clips (fp16)."""
    ends = np.cumsum([len(clip.features) for clip in clips])
    partial = path.with_suffix(".partial.npz")
    try:
        np.savez(
            partial, features=np.concatenate([clip.features for clip in clips]).astype(np.float16), ends=ends,
            labels=np.array([clip.label for clip in clips]), kinds=np.array([clip.kind for clip in clips]),
            identities=np.array([clip.identity for clip in clips]), pairs=np.array([clip.pair for clip in clips]),
        )  # fmt: skip
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}; free some room and resume") from error


def read_features(path: Path) -> list[FeatureClip]:
    """Reads what ``write_features`` wrote."""
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    parts = np.split(arrays["features"].astype(np.float32), arrays["ends"][:-1])
    facts = zip(
        parts,
        arrays["labels"].tolist(),
        arrays["kinds"].tolist(),
        arrays["identities"].tolist(),
        arrays["pairs"].tolist(),
        strict=True,
    )
    return [
        FeatureClip(features=f, label=label, kind=kind, identity=identity, pair=pair)
        for f, label, kind, identity, pair in facts
    ]


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
        accuracy_data="validation clips made of faces that were not trained on", training_frames=(), class_order=("real", "fake"),
        image_size_px=settings.frames.image_size_px, crop_margin=settings.frames.crop_margin, max_frames=256, weights_sha256="",
        caveat=caveat, **asdict(stage.calibration),
    )  # fmt: skip
    partial = path.with_suffix(".json.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_detector(path, model.encoder, stage.head, info)
        # What people read; programs read the same from the weights themselves.
        written = load_detector(path).info
        partial.write_text(json.dumps(asdict(written), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path.with_suffix(".json"))
    except (OSError, SafetensorError) as error:
        raise CheckpointWriteError(f"{path} cannot be written: {error}; free some room or name another file") from error
    return written
