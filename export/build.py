"""Makes the files of one composing model in every precision."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from client.model_info import ModelInfo
from export import calibration
from export.calibration import Calibration
from export.contents import weights_sha256
from export.detector import ClipHead, FrameEncoder, SequenceHead
from export.errors import CalibrationError
from export.gradient_graph import add_maps
from export.graphs import FILES, export_encoder, export_head
from export.model_configs import Variant
from export.quantize import WIDE_LSTM, write_int8_encoder, write_int8_head

logger = logging.getLogger("unmask.export")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an encoder's INT8 graph is made; without a calibration there is none."""

    calibration: Calibration | None

    @property
    def digest(self) -> str:
        """Changes when the INT8 graph would."""
        if self.calibration is None:
            return "none"
        ranges = json.dumps([dict(self.calibration.ranges), self.calibration.float_blocks], sort_keys=True)
        return hashlib.sha256(ranges.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Int8Source:
    """Where the ranges of the INT8 encoder come from: stored ones first, then clips with faces, else no INT8."""

    wanted: bool = True
    clips: Path | None = None
    """Clips to calibrate on, even where ranges are stored; None: stored ranges, else real clips of this machine."""
    checkpoint: Path | None = None
    """Ranges may lie beside it."""
    save_to: Path | None = None
    """File that receives what was measured."""

    def recipe(self, encoder: FrameEncoder, head: ClipHead, info: ModelInfo, scratch: Path) -> Recipe:
        """Finds or measures the ranges.

        Raises:
            CalibrationError: ``clips`` cannot be used, or eight bits cost too much.
        """
        if not self.wanted:
            return Recipe(None)
        sha256 = weights_sha256(encoder)
        stored = calibration.find(sha256, info.image_size_px, beside=self.checkpoint) if self.clips is None else None
        if stored is not None:
            return Recipe(stored)
        source = self.clips or calibration.default_media()
        if source is None:
            logger.warning(
                "no INT8 for %s: there are no stored ranges of these weights and no clips of faces here; the cpu profile runs it in "
                "bf16. Give --calibrate-on FOLDER with videos or photographs of faces",
                info.detector,
            )
            return Recipe(None)
        try:
            clips = calibration.face_clips(source, image_size_px=info.image_size_px, crop_margin=info.crop_margin)
            graph = scratch / "calibrate.onnx"
            export_encoder(encoder, graph, image_size_px=info.image_size_px)
            measured = calibration.calibrate(
                graph, head, clips, encoder_sha256=sha256, threshold=info.threshold,
                crops_from=f"{len(clips)} clips of real faces, every fourth one to check",
            )  # fmt: skip
            graph.unlink()
        except CalibrationError as error:
            if self.clips is not None:
                raise
            logger.warning("no INT8 for %s: %s", info.detector, error)
            return Recipe(None)
        if self.save_to is not None:
            calibration.save(measured, self.save_to)
        return Recipe(measured)


def variant_of(recipe: Recipe, head: nn.Module) -> Variant:
    """What the configurations have to know of the graphs."""
    wide = isinstance(head, SequenceHead) and head.lstm.hidden_size >= WIDE_LSTM
    return Variant(int8_encoder=recipe.calibration is not None, int8_head=wide)


def build_encoder(encoder: FrameEncoder, folder: Path, info: ModelInfo, recipe: Recipe) -> None:
    """Writes every precision of an encoder into its version folder."""
    for precision in ("fp32", "fp16"):
        logger.info("encoder, %s", precision)
        export_encoder(encoder, folder / FILES[precision], image_size_px=info.image_size_px, precision=precision)
    if recipe.calibration is not None:
        logger.info("encoder, int8")
        try:
            write_int8_encoder(
                folder / FILES["fp32"],
                recipe.calibration.ranges,
                folder / FILES["int8"],
                float_blocks=recipe.calibration.float_blocks,
            )
        except KeyError as error:
            raise CalibrationError(
                f"the stored INT8 ranges are of another graph ({error.args[0]}); calibrate again with --calibrate-on"
            ) from error
    # Last: INT8 and FP16 are made without. The explainer asks the fp32 graph alone.
    add_maps(folder / FILES["fp32"], image_size_px=info.image_size_px)


def build_head(head: ClipHead, folder: Path, variant: Variant) -> None:
    """Writes every precision of a head into its version folder."""
    for precision in ("fp32", "fp16"):
        logger.info("head, %s", precision)
        export_head(head, folder / FILES[precision], precision=precision)
    if variant.int8_head:
        logger.info("head, int8")
        write_int8_head(folder / FILES["fp32"], folder / FILES["int8"])
