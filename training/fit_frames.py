"""Stage one: the frame encoder, on pairs of real pictures and the fakes made of them."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training import checkpoints
from training.batches import FrameBatch, FrameBatches, Phase, past, phase_of, plan
from training.course import check_blocks, looks_since_best, schedule
from training.errors import CheckpointMismatchError, TrainingError
from training.frame_model import FrameModel
from training.losses import LossWeights, frame_loss
from training.moving_average import MovingAverage, averaged
from training.pairs import PairMaker, PairOptions

logger = logging.getLogger(__name__)

Precision = Literal["bf16", "fp16", "fp32"]
"""Of the network's arithmetic while it is trained (autocast); weights and loss are float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFitSettings:
    """Everything that decides the result."""

    phases: tuple[Phase, ...]
    image_size_px: int = 112
    crop_margin: float = 1.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up_steps: int = 100
    """Steps over which the learning rate rises."""
    cool_down: float = 0.3
    """Share of the steps, at the end, over which the learning rate falls."""
    ema_decay: float = 0.99
    seed: int = 20261120
    swap_share: float = 0.3
    part_share: float = 0.375
    severity: float = 1.0
    loss: LossWeights = field(default_factory=LossWeights)
    precision: Precision = "bf16"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint keeps them."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    def pair_options(self) -> PairOptions:
        """For the pairs."""
        return PairOptions(
            image_size_px=self.image_size_px, crop_margin=self.crop_margin, swap_share=self.swap_share,
            part_share=self.part_share, severity=self.severity,
        )  # fmt: skip


@dataclass(slots=True)
class FrameFit:
    """A run in progress."""

    settings: FrameFitSettings
    folder: Path
    device: str = "cpu"
    workers: int = 1
    compiled: bool = False
    """Whether ``torch.compile`` joins the network's operations: 1.6 times as fast on two CPU cores with one block a layer,
    no faster with all; bits differ. Needs a C++ compiler, and half a minute to start."""
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = -1.0

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept."""
        return self.folder / "frames.pt"

    def run(
        self,
        maker: PairMaker,
        *,
        validate: Callable[[FrameModel], dict[str, float]] | None = None,
        validate_every: int = 200,
        patience: int = 0,
        save_every_s: float = 180.0,
        stop_at: int | None = None,
        init: Path | None = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> FrameModel:
        """Trains from the checkpoint, or from the start, and returns the moving average.

        Args:
            validate: Takes the moving average in evaluation mode, returns figures; ``auc`` decides what is kept as best.
            patience: Validations without a better AUC before the run ends; 0: never.
            init: Weights to start from, of any layout that ``unmask export`` reads (their encoder is taken), or a checkpoint of
                another run (everything is taken).
            stop_at: Ends before this step with a checkpoint, as a kill would.

        Raises:
            CheckpointWriteError, CheckpointMismatchError, DataError
            TrainingError: See ``check_blocks``; or the loss is not finite.
            ExportError: ``init`` cannot be read.
        """
        settings, total = self.settings, plan(self.settings.phases)
        torch.manual_seed(settings.seed)
        model = FrameModel()
        if init is not None:
            model.start_from(init)
        model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = MovingAverage(model, settings.ema_decay)
        optimizer = torch.optim.AdamW(_groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True)
        scaler = torch.amp.GradScaler(self.device, enabled=settings.precision == "fp16")
        if self.checkpoint.exists():
            self._restore(model, average, optimizer, scaler)
        check_blocks(model, settings.phases, self.step)
        batches = FrameBatches(maker, settings.phases, settings.pair_options(), settings.seed)
        saved_at, smooth = time.monotonic(), math.nan
        end = min(total, stop_at if stop_at is not None else total)
        if patience and looks_since_best(self.history) >= patience:
            # It had ended early before it was asked to go on.
            end = self.step
        model.train()
        forward = torch.compile(model) if self.compiled else model
        waiting = batches.from_step(self.step, workers=self.workers)
        while self.step < end:
            batch = self._next(waiting)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(self.step, total, settings.warm_up_steps, settings.cool_down)
            model.active_blocks = phase_of(settings.phases, self.step).blocks
            loss, parts = self._train_step(model, forward, optimizer, scaler, batch)
            average.update(model, self.step)
            self.step += 1
            smooth = loss if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss
            if self.step % 10 == 0:
                window = float(phase_of(settings.phases, self.step - 1).window_px)
                self.history.append({"step": self.step, "loss": loss, **parts, "window_px": window, "time_s": time.time()})
            if progress:
                progress(self.step, total, smooth)
            if validate and (self.step % validate_every == 0 or self.step == total):
                self._validated(validate, average, smooth)
                if patience and looks_since_best(self.history) >= patience:
                    logger.info(
                        "no better validation AUC than %.4f in %d looks: the run ends at step %d",
                        self.best,
                        patience,
                        self.step,
                    )
                    break
            if time.monotonic() - saved_at > save_every_s:
                self._save(model, average, optimizer, scaler)
                saved_at = time.monotonic()
                logger.info("step %d of %d, loss %.4f", self.step, end, smooth)
        if validate and self.step >= total and not any(h["step"] == self.step and "val_auc" in h for h in self.history):
            # Resumed with phases that end where the run already is.
            self._validated(validate, average, smooth)
        self._save(model, average, optimizer, scaler)
        return averaged(average)

    def _validated(
        self, validate: Callable[[FrameModel], dict[str, float]], average: MovingAverage, smooth_loss: float
    ) -> None:
        """Validates the moving average and keeps it where it is better than all before."""
        figures = validate(averaged(average))
        self.history.append({"step": self.step, "time_s": time.time(), **{f"val_{k}": v for k, v in figures.items()}})
        logger.info("step %d: loss %.4f, validation %s", self.step, smooth_loss, figures)
        if figures["auc"] <= self.best:
            return
        self.best = figures["auc"]
        checkpoints.save(
            self.folder / "frames_best.pt", {"model": average.state, "step": self.step}, settings=self.settings.as_dict()
        )

    def _next(self, waiting: Iterator[FrameBatch]) -> FrameBatch:
        """The next batch; what goes wrong in the processes that make them as errors of this one."""
        try:
            return next(waiting)
        except TrainingError as error:
            # PyTorch puts the other process's traceback before it.
            raise type(error)(str(error).strip().splitlines()[-1].removeprefix(f"{_full_name(error)}: ")) from error
        except RuntimeError as error:
            raise TrainingError(
                f"the processes that make pairs ended at step {self.step}: {error}; with little memory give fewer --workers, and resume"
            ) from error

    def _train_step(
        self, model: FrameModel, forward: Callable[[Tensor], Any], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
        batch: FrameBatch,
    ) -> tuple[float, dict[str, float]]:  # fmt: skip
        batch = FrameBatch(
            *(getattr(batch, name).to(self.device) for name in ("frames", "masks", "labels", "weights", "quality"))
        )
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.settings.precision)
        with torch.autocast(self.device, half or torch.bfloat16, enabled=half is not None):
            try:
                logits, maps = forward(batch.frames)
            except RuntimeError as error:
                if not self.compiled:
                    raise
                raise TrainingError(
                    f"the network cannot be compiled or computed: {error}; leave out --compile and resume"
                ) from error
        loss, parts = frame_loss(logits, maps, batch, self.settings.loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 5.0))
        if not math.isfinite(norm) and not scaler.is_enabled():
            # Taken, this step would break all weights, and the next checkpoint with them.
            raise self._diverged(f"the gradient's norm is {norm}")
        # With fp16, a step whose gradients overflowed is left out and the scale lowered.
        scaler.step(optimizer)
        scaler.update()
        return value, parts

    def _diverged(self, what: str) -> TrainingError:
        best = self.folder / "frames_best.pt"
        start = f"from --init {best}" if best.exists() else "anew"
        return TrainingError(
            f"{what} at step {self.step}; start another run {start} with a learning rate under {self.settings.learning_rate:g}"
        )

    def _save(
        self, model: nn.Module, average: MovingAverage, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> None:
        state = {
            "model": model.state_dict(), "average": average.state, "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(),
            "step": self.step, "phases": [asdict(phase) for phase in self.settings.phases], "history": self.history, "best": self.best,
        }  # fmt: skip
        checkpoints.save(self.checkpoint, state, settings=self.settings.as_dict())
        checkpoints.write_text(self.folder / "frames_history.json", json.dumps(self.history))

    def _restore(
        self, model: nn.Module, average: MovingAverage, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> None:
        state = checkpoints.load(self.checkpoint, settings=self.settings.as_dict(), may_differ=("phases", "cool_down"))
        there = tuple(Phase(**phase) for phase in state["phases"])
        if past(there, state["step"]) != past(self.settings.phases, state["step"]):
            raise CheckpointMismatchError(
                f"{self.checkpoint} is at step {state['step']} of other phases: {there} there, {self.settings.phases} here; only what is "
                "still to come may be changed: use its phases up to there, or another folder"
            )
        model.load_state_dict(state["model"])
        for name, value in state["average"].items():
            # Into what is there, which lies on the run's device; checkpoints are read into the CPU's memory.
            average.state[name].copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
        logger.info("resumed from %s at step %d", self.checkpoint, self.step)


def _full_name(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _groups(model: nn.Module, weight_decay: float) -> Sequence[dict[str, Any]]:
    """Biases and batch norms do not decay."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for value in model.parameters():
        (decayed if value.ndim > 1 else free).append(value)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
