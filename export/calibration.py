"""What INT8 needs to know of an encoder: the range of every activation on real face crops, and which blocks stay in floating point.

It is measured once and kept as JSON beside the weights, keyed by their hash: a fresh clone, which has no photographs of people,
builds the very graph that was measured. Other checkpoints are calibrated on clips that the caller names.
"""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.files import written_whole
from export.detector import ClipHead
from export.errors import CalibrationError
from export.quantize import Crops, Ranges, block_errors, blocks_of, cosine, features_of, measure_ranges, write_int8_encoder

logger = logging.getLogger("unmask.export")

RECIPE = "onnxruntime-qdq-minmax-u8-s8-2"
"""Changes when the same ranges would give another graph."""
MIN_COSINE = 0.999
"""Least cosine of INT8 features with fp32 ones that any check crop may show."""
MIN_AGREEMENT = 0.99
"""Least share of check crops with the same label."""
CLIPS, FRAMES_PER_CLIP = 32, 16
"""How much is taken of a folder: spread over its files. What eight bits cost is measured on a quarter with the ranges of the rest; the
ranges that are kept are of all."""
_RANKING_CROPS = 16
_SHIPPED = Path(__file__).resolve().parent / "calibrations"
MEDIA_VARIABLE = "UNMASK_MEDIA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything that turns an encoder's fp32 graph into its INT8 graph, and what that was seen to cost."""

    encoder_sha256: str
    recipe: str
    image_size_px: int
    ranges: Ranges
    float_blocks: tuple[str, ...]
    """Residual blocks that stay in floating point because eight bits hurt them."""
    crops: int
    """Face crops that the ranges were measured on."""
    crops_from: str
    check_crops: int
    """Those among them that were left out while the cost of eight bits was measured."""
    cosine_min: float
    """Least cosine of features with fp32 on the check crops, with the ranges of the others."""
    label_agreement: float
    """Share of check crops with fp32's label, at the head and threshold it was measured with."""


def find(encoder_sha256: str, image_size_px: int, *, beside: Path | None) -> Calibration | None:
    """The stored calibration of an encoder: beside its checkpoint (``<stem>.calibration.json``), or shipped with this package."""
    candidates = [beside.with_name(f"{beside.stem}.calibration.json")] if beside is not None else []
    candidates.append(_SHIPPED / f"{encoder_sha256[:16]}.json")
    for path in candidates:
        if not path.is_file():
            continue
        calibration = load(path)
        if (calibration.encoder_sha256, calibration.recipe, calibration.image_size_px) == (
            encoder_sha256,
            RECIPE,
            image_size_px,
        ):
            logger.info("INT8 ranges from %s", path.name)
            return calibration
        logger.warning("%s is of other weights or another recipe; it is not used", path)
    return None


def load(path: Path) -> Calibration:
    """Reads what ``save`` wrote.

    Raises:
        CalibrationError: It is something else.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        document["ranges"] = {name: (float(low), float(high)) for name, (low, high) in document["ranges"].items()}
        document["float_blocks"] = tuple(document["float_blocks"])
        return Calibration(**document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(f"{path} is no calibration file: {error}; remove it and calibrate again") from error


def save(calibration: Calibration, path: Path) -> None:
    """Writes JSON, whole or not at all.

    Raises:
        CalibrationError: The file cannot be written.
    """
    try:
        with written_whole(path) as partial:
            partial.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"the INT8 ranges cannot be written to {path}: {error.strerror}; choose another file") from error


def default_media() -> Path | None:
    """Real clips on this machine: the environment's UNMASK_MEDIA, or ``shared/media`` beside the checkout; None without."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get(MEDIA_VARIABLE, root.parent / "shared" / "media"))
    for candidate in (path / "real", path):
        if candidate.is_dir():
            return candidate
    return None


def face_clips(path: Path, *, image_size_px: int, crop_margin: float, most: int = CLIPS) -> list[Crops]:
    """Face crops of the media files under a path, one array a clip, by the code that serves.

    Args:
        path: A media file, or a folder with some.
        image_size_px: Side of a crop.
        crop_margin: Side of a crop in face boxes.
        most: Files to take, spread over all of them.

    Raises:
        CalibrationError: There are fewer than two clips with a face: one calibrates, the other checks.
    """
    from preprocess import ExtractionOptions, PreprocessError, Preprocessor, find_media

    options = ExtractionOptions(frames=FRAMES_PER_CLIP, image_size_px=image_size_px, crop_margin=min(4.0, crop_margin))
    try:
        files = find_media(path)
    except (PreprocessError, OSError) as error:
        raise CalibrationError(f"nothing to calibrate on: {error}") from error
    chosen = [files[index] for index in np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int))]
    clips = []
    with Preprocessor() as preprocessor:
        for file in chosen:
            try:
                clips += [clip.frames for clip in preprocessor.extract(file, options).clips[:1]]
            except PreprocessError as error:
                logger.warning("not calibrated on: %s", error)
    if len(clips) < 2:
        raise CalibrationError(f"{path} has {len(clips)} clips with a usable face; at least 2 are needed (better 20)")
    return clips


def calibrate(
    graph: Path,
    head: ClipHead,
    clips: Sequence[Crops],
    *,
    encoder_sha256: str,
    crops_from: str,
    threshold: float,
) -> Calibration:
    """Measures ranges on three of four clips, and on the rest puts blocks back into floating point until eight bits cost nothing
    that matters: the worst first, ranked by what each block adds to the error. The ranges that are kept are those of all clips.

    Raises:
        CalibrationError: Not even that reaches ``MIN_COSINE`` and ``MIN_AGREEMENT``.
    """
    import onnx

    checking = list(clips[1::4])
    fitting = np.concatenate([clip for number, clip in enumerate(clips) if number % 4 != 1])
    crops = np.concatenate(checking)
    ranges = measure_ranges(graph, fitting)
    of_rest = measure_ranges(graph, crops)
    expected = features_of(graph, crops)
    lengths = [len(clip) for clip in checking]
    labels = _labels(head, expected, lengths, threshold)
    blocks = list(blocks_of(onnx.load(graph)))

    with tempfile.TemporaryDirectory(prefix="unmask-int8-") as folder:
        target = Path(folder) / "int8.onnx"

        def cost(float_blocks: Sequence[str]) -> tuple[float, float]:
            write_int8_encoder(graph, ranges, target, float_blocks=float_blocks)
            found = features_of(target, crops)
            agreement = float((_labels(head, found, lengths, threshold) == labels).mean())
            return float(cosine(found, expected).min()), agreement

        kept: tuple[str, ...] = ()
        least, agreement = cost(kept)
        if least < MIN_COSINE or agreement < MIN_AGREEMENT:
            logger.info("INT8 alone: cosine %.5f, labels %.3f; looking for the blocks that hurt", least, agreement)
            errors = block_errors(graph, target, crops[:: max(1, len(crops) // _RANKING_CROPS)])
            ranked = sorted(blocks, key=lambda block: -errors[block])
            while (least < MIN_COSINE or agreement < MIN_AGREEMENT) and len(kept) < len(ranked):
                kept = tuple(ranked[: len(kept) + 1])
                least, agreement = cost(kept)
                logger.info("%s in floating point: cosine %.5f, labels %.3f", ", ".join(kept), least, agreement)
    if least < MIN_COSINE or agreement < MIN_AGREEMENT:
        raise CalibrationError(
            f"INT8 keeps a cosine of {least:.5f} and {agreement:.1%} of the labels, at least {MIN_COSINE} and {MIN_AGREEMENT:.0%} are "
            "needed; leave INT8 out with --no-int8"
        )
    return Calibration(
        encoder_sha256=encoder_sha256,
        recipe=RECIPE,
        image_size_px=crops.shape[1],
        ranges={name: (min(low, of_rest[name][0]), max(high, of_rest[name][1])) for name, (low, high) in ranges.items()},
        float_blocks=tuple(block for block in blocks if block in kept),
        crops=len(fitting) + len(crops),
        crops_from=crops_from,
        check_crops=len(crops),
        cosine_min=round(least, 6),
        label_agreement=round(agreement, 4),
    )


def _labels(head: ClipHead, features: NDArray[np.float32], lengths: Sequence[int], threshold: float) -> NDArray[np.bool_]:
    """Label of every frame, each clip through the head by itself."""
    with torch.inference_mode():
        parts = [head(part)[1].numpy() >= threshold for part in torch.split(torch.from_numpy(features), list(lengths))]
    return np.concatenate(parts)
