"""Stage two: the LSTM, on features of clips by the finished encoder.

The head starts as the mean of the frame classifier's margins (one of its units carries the margin through, the others start
mute), so that what it learns can only be what time adds.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.detector import FrameEncoder, SequenceHead
from preprocess.boxes import Box
from training.clips import ClipKind, ClipMaker, crops_of
from training.corruptions import Corruption
from training.course import schedule
from training.errors import EmptyClassError

logger = logging.getLogger(__name__)

_CARRY = 0.125
"""Margins are carried through tanh twice at this scale, so that up to 4 they stay nearly linear."""
_OPEN = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureClip:
    """One clip as the encoder sees it."""

    features: NDArray[np.float32]
    """(T, 2048)."""
    label: int
    """0 real, 1 fake."""
    kind: str
    """The fake's kind; the genuine clip of a pair carries its fake's."""
    identity: str
    pair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFitSettings:
    """Everything that decides the result."""

    epochs: int = 15
    batch: int = 32
    learning_rate: float = 1e-4
    min_gain: float = 0.01
    """What the validation AUC must gain over the mean of frames: the best of many epochs is above the start by chance alone."""
    weight_decay: float = 0.02
    feature_noise: float = 0.1
    """Standard deviation of noise on features, in units of each feature's own."""
    smoothing: float = 0.05
    seed: int = 20261120


@torch.no_grad()
def encode_frames(
    encoder: FrameEncoder, frames: NDArray[np.uint8], *, device: str = "cpu", batch: int = 32
) -> NDArray[np.float32]:
    """(T, P, P, 3) uint8 RGB -> (T, 2048) float32."""
    encoder = encoder.to(device)
    parts = []
    for start in range(0, len(frames), batch):
        with torch.autocast(device, torch.bfloat16):
            parts.append(encoder(torch.from_numpy(frames[start : start + batch]).to(device)).float().cpu())
    return torch.cat(parts).numpy()


def make_feature_clips(
    encoder: FrameEncoder, maker: ClipMaker, kinds: Sequence[ClipKind], *, pairs: int, frames: tuple[int, int], seed: int,
    severity: float, image_size_px: int, crop_margin: float, device: str = "cpu", progress: Callable[[int, int], None] | None = None,
) -> list[FeatureClip]:  # fmt: skip
    """Pairs of genuine and fake clips of ``frames`` (from, to) frames, kinds in turn."""
    clips: list[FeatureClip] = []
    for number in range(pairs):
        rng = np.random.default_rng((seed, number))
        made = maker.make(kinds[number % len(kinds)], int(rng.integers(frames[0], frames[1] + 1)), rng, severity=severity)
        shake = int(rng.integers(2**31))
        for label, pictures in enumerate((made.real, made.fake)):
            crops = crops_of(pictures, made.boxes, np.random.default_rng(shake), size_px=image_size_px, margin=crop_margin)
            features = encode_frames(encoder, crops, device=device)
            clips.append(FeatureClip(features=features, label=label, kind=made.kind, identity=made.identity, pair=number))
        if progress:
            progress(number + 1, pairs)
    return clips


GENUINE_VARIANTS = (
    *(Corruption(codec="h264", level=(crf - 18) / 22) for crf in (18, 23, 32, 40)),
    Corruption(scale=0.5, codec="h264", level=0.0),
)
"""What genuine videos go through before they bound the false alarms."""


def make_genuine_clips(
    encoder: FrameEncoder, maker: ClipMaker, *, image_size_px: int, crop_margin: float, device: str = "cpu"
) -> list[FeatureClip]:
    """Every genuine video of a split, whole, in each of ``GENUINE_VARIANTS``."""
    clips: list[FeatureClip] = []
    for number, frames in enumerate(maker.videos):
        for change in GENUINE_VARIANTS:
            pictures = change.apply_clip([record.picture() for record in frames])
            boxes = [Box(*(value * change.scale for value in record.box)) for record in frames]
            crops = crops_of(pictures, boxes, np.random.default_rng(number), size_px=image_size_px, margin=crop_margin)
            features = encode_frames(encoder, crops, device=device)
            clips.append(FeatureClip(features=features, label=0, kind="genuine", identity=frames[0].identity, pair=number))
    return clips


def head_of_classifier(classifier: nn.Linear, hidden_size: int, seed: int) -> SequenceHead:
    """A sequence head whose logits are, at first, those of the frame classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = SequenceHead(hidden_size)
    weight = (classifier.weight[1] - classifier.weight[0]).detach()
    bias = float((classifier.bias[1] - classifier.bias[0]).detach())
    lstm = head.lstm
    with torch.no_grad():
        into, back = lstm.get_parameter("weight_ih_l0"), lstm.get_parameter("weight_hh_l0")
        bias_in, bias_back = lstm.get_parameter("bias_ih_l0"), lstm.get_parameter("bias_hh_l0")
        for gate, openness in enumerate((_OPEN, -_OPEN, None, _OPEN)):
            row = gate * hidden_size
            into[row].zero_()
            back[row].zero_()
            bias_back[row] = 0.0
            if openness is None:
                into[row] = weight * _CARRY
                bias_in[row] = bias * _CARRY
            else:
                bias_in[row] = openness
        head.linear1.weight.zero_()
        through = 1 / (1 + math.exp(-_OPEN))
        head.linear1.weight[0, 0] = -0.5 / (_CARRY * through**2)
        head.linear1.weight[1, 0] = 0.5 / (_CARRY * through**2)
        head.linear1.bias.zero_()
    return head


def fit_head(
    head: SequenceHead, train: Sequence[FeatureClip], validation: Sequence[FeatureClip], settings: ClipFitSettings
) -> tuple[SequenceHead, list[dict[str, float]]]:
    """Trains the head and returns it as it was at its best validation AUC, or as it started where that gains nothing.

    Raises:
        EmptyClassError: A class is missing.
    """
    for name, clips in (("training", train), ("validation", validation)):
        found = {clip.label for clip in clips}
        if found != {0, 1}:
            raise EmptyClassError(f"the {name} clips have labels {sorted(found)}; both real (0) and fake (1) are needed")
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    spread = torch.from_numpy(np.concatenate([clip.features for clip in train[:200]]).std(0))
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    history: list[dict[str, float]] = []
    start = head_auc(head, validation)
    best = start + settings.min_gain
    kept = {name: value.clone() for name, value in head.state_dict().items()}
    history.append({"epoch": 0, "val_auc": start})
    steps_a_epoch = math.ceil(len(train) / settings.batch)
    total = settings.epochs * steps_a_epoch
    for epoch in range(settings.epochs):
        order, losses = rng.permutation(len(train)), []
        for number in range(steps_a_epoch):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(epoch * steps_a_epoch + number, total, total // 10, 0.9)
            chosen = [train[int(i)] for i in order[number * settings.batch : (number + 1) * settings.batch]]
            features = _augmented(chosen, spread, settings, rng)
            logits = head.linear1(head.lstm(features)[0]).mean(1)
            labels = torch.tensor([clip.label for clip in chosen])
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=settings.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
        auc = head_auc(head, validation)
        history.append({"epoch": epoch + 1, "loss": float(np.mean(losses)), "val_auc": auc})
        logger.info("head, epoch %d of %d: loss %.4f, validation AUC %.4f", epoch + 1, settings.epochs, np.mean(losses), auc)
        if auc > best:
            best, kept = auc, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(kept)
    return head.eval(), history


def _augmented(clips: Sequence[FeatureClip], spread: Tensor, settings: ClipFitSettings, rng: np.random.Generator) -> Tensor:
    """A random part of each clip, as long for all, (N, T, 2048)."""
    shortest = min(len(clip.features) for clip in clips)
    count = int(rng.integers(min(6, shortest), shortest + 1))
    parts = []
    for clip in clips:
        start = int(rng.integers(0, len(clip.features) - count + 1))
        # The same noise in every frame: a clip's own look varies, its changes stay.
        noise = rng.normal(0, settings.feature_noise, clip.features.shape[1]).astype(np.float32)
        parts.append(torch.from_numpy(clip.features[start : start + count]) + torch.from_numpy(noise) * spread)
    return torch.stack(parts)


@torch.no_grad()
def margins(head: nn.Module, clips: Sequence[FeatureClip]) -> NDArray[np.float64]:
    """Clip's logit of fake minus logit of real, (N,)."""
    values = [head(torch.from_numpy(clip.features)).mean(0) for clip in clips]
    return np.array([float(value[1] - value[0]) for value in values])


@torch.no_grad()
def frame_mean_margins(classifier: nn.Linear, clips: Sequence[FeatureClip]) -> NDArray[np.float64]:
    """Mean of the frame classifier's margins over each clip, (N,)."""
    values = [classifier(torch.from_numpy(clip.features)).mean(0) for clip in clips]
    return np.array([float(value[1] - value[0]) for value in values])


def head_auc(head: nn.Module, clips: Sequence[FeatureClip]) -> float:
    """AUC of the head over clips."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([clip.label for clip in clips], margins(head, clips)))
