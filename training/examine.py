"""The examination of weights on faces held back: made fakes by kind, quality, length of the clip. Without a server."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.model_info import ModelInfo
from export.detector import FrameEncoder
from preprocess.boxes import Box
from preprocess.crops import crop_square
from training.clips import FRAME_KINDS, TEMPORAL_KINDS, ClipMaker
from training.corruptions import Corruption
from training.errors import DataError, EvaluationError
from training.fit_clips import FeatureClip, encode_frames, make_feature_clips, margins
from training.metrics import measure
from training.pairs import PairMaker, PairOptions
from training.shards import Record

logger = logging.getLogger(__name__)

SEVERITIES = {"light": 0.3, "full": 1.0}
"""How the examination degrades its clips; ``full`` is what training ends with."""
CRFS = (18, 23, 28, 32, 36, 40)
SCALES = (1.0, 0.71, 0.5, 0.35, 0.25)


@dataclass(frozen=True, slots=True)
class Examinee:
    """Weights under examination."""

    encoder: FrameEncoder
    head: nn.Module
    info: ModelInfo
    device: str = "cpu"

    def scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Margins -> probabilities of fake."""
        return np.asarray(1 / (1 + np.exp(-np.clip(values / self.info.temperature, -50, 50))), np.float64)

    @torch.no_grad()
    def single_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Margins of frames taken each as a clip of its own, (N,)."""
        features = encode_frames(self.encoder, frames, device=self.device)
        values = [self.head(torch.from_numpy(row[None]))[0] for row in features]
        return np.array([float(value[1] - value[0]) for value in values])


def frame_figures(examinee: Examinee, records: Sequence[Record], *, pairs: int, seed: int) -> dict[str, Any]:
    """Frames: self-blended, part-blended and swapped apart, at each severity."""
    maker, out = PairMaker(records), {}
    info = examinee.info
    for kind in FRAME_KINDS:
        for name, severity in SEVERITIES.items():
            options = PairOptions(
                image_size_px=info.image_size_px, crop_margin=info.crop_margin, swap_share=float(kind == "swap"),
                part_share=float(kind == "part_blend"), severity=severity,
            )  # fmt: skip
            made = [maker.make(np.random.default_rng((seed, number)), options) for number in range(pairs)]
            crops = np.concatenate([np.stack([pair.crops[label] for pair in made]) for label in (0, 1)])
            scores = examinee.scores(examinee.single_frames(crops))
            labels = np.repeat([0, 1], pairs)
            groups = [pair.identity for _ in (0, 1) for pair in made]
            out[f"{kind}, {name}"] = measure(labels, scores, threshold=info.threshold, groups=groups).as_dict()
    return out


def clip_figures(
    examinee: Examinee, records: Sequence[Record], *, pairs: int, frames: int, seed: int
) -> tuple[dict[str, Any], dict[str, list[FeatureClip]]]:
    """Clips of each kind at each severity; also the feature clips, for the comparison of heads."""
    maker, info = ClipMaker(records), examinee.info
    kinds = maker.makeable((*FRAME_KINDS, *TEMPORAL_KINDS))
    out: dict[str, Any] = {}
    kept: dict[str, list[FeatureClip]] = {}
    for kind in kinds:
        for name, severity in SEVERITIES.items():
            clips = make_feature_clips(
                examinee.encoder, maker, (kind,), pairs=pairs, frames=(frames, frames), seed=seed, severity=severity,
                image_size_px=info.image_size_px, crop_margin=info.crop_margin, device=examinee.device,
            )  # fmt: skip
            kept[f"{kind}, {name}"] = clips
            scores = examinee.scores(margins(examinee.head, clips))
            figures = measure(
                [clip.label for clip in clips], scores, threshold=info.threshold, groups=[clip.identity for clip in clips]
            )
            out[f"{kind}, {name}"] = figures.as_dict()
            logger.info("%s, %s: clip AUC %.3f", kind, name, figures.auc.value if figures.auc else float("nan"))
    return out, kept


def head_against_mean(
    examinee: Examinee, classifier: nn.Linear, clips: dict[str, list[FeatureClip]]
) -> dict[str, dict[str, float]]:
    """AUC of the sequence head and of the mean of frame scores on the same clips."""
    from sklearn.metrics import roc_auc_score

    from training.fit_clips import frame_mean_margins

    def both(part: list[FeatureClip]) -> dict[str, float]:
        labels = [clip.label for clip in part]
        head = float(roc_auc_score(labels, margins(examinee.head, part)))
        mean = float(roc_auc_score(labels, frame_mean_margins(classifier, part)))
        return {"sequence_head": head, "frame_mean": mean, "gain": head - mean}

    out = {name: both(part) for name, part in clips.items()}
    for name in SEVERITIES:
        out[f"all temporal, {name}"] = both([clip for kind in TEMPORAL_KINDS for clip in clips.get(f"{kind}, {name}", [])])
    return out


def quality_figures(examinee: Examinee, records: Sequence[Record], *, pictures: int, seed: int) -> dict[str, Any]:
    """How far the score of genuine frames follows the picture's quality.

    Each picture is encoded at every CRF of ``CRFS`` (at full size) and scaled by every factor of ``SCALES`` (at CRF 18).

    Returns:
        Spearman's rho between score and CRF, and between score and face size, over all, and as the mean of each picture's own (which
        differences between pictures do not hide); and the mean score at each step.

    Raises:
        EvaluationError: Fewer than 10 genuine pictures.
    """
    from scipy.stats import spearmanr

    genuine = [record for record in records if record.label == "real"]
    if len(genuine) < 10:
        raise EvaluationError(f"{len(genuine)} genuine pictures; the correlation with quality needs at least 10")
    rng = np.random.default_rng(seed)
    chosen = [genuine[int(i)] for i in rng.permutation(len(genuine))[:pictures]]
    by_crf, by_scale, sizes = [], [], []
    for record in chosen:
        rgb, box = record.picture(), record.box
        levels = [Corruption(codec="h264", level=(crf - 18) / 22) for crf in CRFS]
        by_crf.append(np.stack([_crop(level.apply(rgb), box, 1.0, examinee.info) for level in levels]))
        scaled = [Corruption(scale=scale, scaler=3, codec="h264", level=0.0) for scale in SCALES]
        by_scale.append(np.stack([_crop(step.apply(rgb), box, step.scale, examinee.info) for step in scaled]))
        sizes.append([box.side * step.scale for step in scaled])
    crf_scores = examinee.scores(examinee.single_frames(np.concatenate(by_crf))).reshape(len(chosen), -1)
    scale_scores = examinee.scores(examinee.single_frames(np.concatenate(by_scale))).reshape(len(chosen), -1)
    crf_rho = spearmanr(np.tile(CRFS, len(chosen)), crf_scores.ravel())
    size_rho = spearmanr(np.ravel(sizes), scale_scores.ravel())
    return {
        "pictures": len(chosen),
        "rho_crf": float(crf_rho.statistic),
        "rho_face_size": float(size_rho.statistic),
        "rho_crf_within_pictures": _within(np.tile(CRFS, (len(chosen), 1)), crf_scores),
        "rho_face_size_within_pictures": _within(np.array(sizes), scale_scores),
        "mean_score_by_crf": dict(zip(map(str, CRFS), crf_scores.mean(0).tolist(), strict=True)),
        "mean_score_by_scale": dict(zip(map(str, SCALES), scale_scores.mean(0).tolist(), strict=True)),
    }


def _within(steps: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """Mean over pictures of Spearman's rho between steps and scores of that picture alone, both (N, K)."""
    from scipy.stats import spearmanr

    each = [spearmanr(a, b).statistic for a, b in zip(steps, scores, strict=True)]
    return float(np.nanmean(each))


def _crop(rgb: NDArray[np.uint8], box: Box, scale: float, info: ModelInfo) -> NDArray[np.uint8]:
    return crop_square(rgb, Box(*(value * scale for value in box)), size_px=info.image_size_px, margin=info.crop_margin)


def length_figures(
    examinee: Examinee, records: Sequence[Record], *, pairs: int, lengths: Sequence[int], severity: float, seed: int
) -> dict[str, Any]:
    """Accuracy against the number of frames, spread over the same clips of photographs: the reference projects' table.

    Real clips of the cache are too short for 100 frames, so every clip is a photograph seen by a moving camera.
    """
    photographs = [record for record in records if not record.from_video]
    if not photographs:
        raise EvaluationError(f"clips of {max(lengths)} frames are made of photographs, and there are none")
    info = examinee.info
    clips = make_feature_clips(
        examinee.encoder, ClipMaker(photographs), FRAME_KINDS, pairs=pairs, frames=(max(lengths), max(lengths)), seed=seed,
        severity=severity, image_size_px=info.image_size_px, crop_margin=info.crop_margin, device=examinee.device,
    )  # fmt: skip
    out = {}
    for length in lengths:
        part = []
        for clip in clips:
            places = ((np.arange(length) + 0.5) * len(clip.features) / length).astype(int)
            part.append(
                FeatureClip(
                    features=clip.features[places], label=clip.label, kind=clip.kind, identity=clip.identity, pair=clip.pair
                )
            )
        scores = examinee.scores(margins(examinee.head, part))
        out[str(length)] = measure(
            [clip.label for clip in part], scores, threshold=info.threshold, groups=[clip.identity for clip in part]
        ).as_dict()
    return out


def examination(
    examinee: Examinee,
    records: Sequence[Record],
    folder: Path,
    *,
    pairs: int,
    lengths: Sequence[int],
    classifier: Path | None,
    seed: int = 20261121,
) -> Path:
    """All of the above on one page; returns it.

    Raises:
        EvaluationError: Too few records, or the folder cannot be written.
    """
    from training.pages import write_evaluation

    content: dict[str, Any] = {"Frames": frame_figures(examinee, records, pairs=4 * pairs, seed=seed)}
    content["Clips of 16 frames"], clips = clip_figures(examinee, records, pairs=pairs, frames=16, seed=seed)
    if classifier is not None:
        content["Sequence head against the mean of frame scores, AUC"] = head_against_mean(
            examinee, read_classifier(classifier), clips
        )
    content["Score of genuine frames against their quality"] = _or_reason(
        lambda: quality_figures(examinee, records, pictures=2 * pairs, seed=seed)
    )
    content["Accuracy against frames"] = _or_reason(
        lambda: length_figures(
            examinee, records, pairs=max(8, pairs // 3), lengths=lengths, severity=SEVERITIES["light"], seed=seed
        )
    )
    genuine = [record for record in records if record.label == "real"]
    content["Data"] = {
        "split": ", ".join(sorted({record.split for record in genuine})), "people": len({record.identity for record in genuine}),
        "pictures": len(genuine), "pairs of clips of each kind": pairs, "seed": seed,
    }  # fmt: skip
    content["Model"] = examinee.info.to_parameters()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page, _ = write_evaluation(folder, "Examination on made fakes", content, _curves(examinee, clips, folder))
    except OSError as error:
        raise EvaluationError(
            f"{folder} cannot be written: {error.strerror or error}; free some room or name another folder"
        ) from error
    return page


def _curves(examinee: Examinee, clips: Mapping[str, Sequence[FeatureClip]], folder: Path) -> dict[str, Path]:
    """ROC, precision against recall and reliability of the lightly degraded clips of each frame kind."""
    from training.plots import evaluation_curves

    out = {}
    for kind in FRAME_KINDS:
        part = clips[f"{kind}, light"]
        scores = examinee.scores(margins(examinee.head, part)).tolist()
        path = folder / f"curves_{kind}.png"
        out[f"{kind}, light: curves"] = evaluation_curves([clip.label for clip in part], scores, examinee.info.threshold, path)
    return out


def _or_reason(figures: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures, or why there are none: what was measured before must not be lost for it."""
    try:
        return figures()
    except (DataError, EvaluationError) as error:
        logger.warning("not measured: %s", error)
        return {"not measured": str(error)}


def read_classifier(path: Path) -> nn.Linear:
    """The frame classifier of a run's ``frames_best.pt``.

    Raises:
        CheckpointError: It cannot be read.
    """
    from training.checkpoints import load

    state = load(path)["model"]
    layer = nn.Linear(state["classifier.weight"].shape[1], 2)
    layer.load_state_dict({"weight": state["classifier.weight"], "bias": state["classifier.bias"]})
    return layer
