"""How a run goes: its learning rate, which blocks may learn when, and when it has stopped getting better."""

import math
from collections.abc import Mapping, Sequence

from training.batches import Phase
from training.errors import TrainingError
from training.frame_model import FrameModel


def schedule(step: int, total: int, warm_up_steps: int, cool_down: float) -> float:
    """Factor of the learning rate at a step (from 0): linear rise, level, half a cosine down to a hundredth.

    Level in between, because a run on a machine that is lent for an unknown time is then extended or ended as time allows.
    """
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    falls_from = total * (1 - cool_down)
    if step < falls_from:
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - falls_from) / max(1.0, total - falls_from)))


def check_blocks(model: FrameModel, phases: Sequence[Phase], step: int) -> None:
    """Refuses a phase to come that would leave out blocks that have learned, as those of other people's weights have.

    Without them another network would be trained than the one that is validated and served.

    Raises:
        TrainingError: Such a phase is among them.
    """
    learned, all_blocks = model.learned_blocks()
    for phase in phases:
        if step >= phase.steps:
            step -= phase.steps
            continue
        step = 0
        computed = phase.blocks or all_blocks
        if any(few < need for few, need in zip(computed, learned, strict=True)):
            here, there = ("-".join(map(str, counts)) for counts in (computed, learned))
            raise TrainingError(
                f"a phase of {phase.steps} steps has BLOCKS {here}, but {there} blocks of the four layers have learned by then and would "
                "be left out; set its BLOCKS to 0 (all)"
            )
        learned = tuple(max(pair) for pair in zip(computed, learned, strict=True))


def looks_since_best(history: Sequence[Mapping[str, float]]) -> int:
    """Validations after the one with the best AUC. Taken from the history, so that a resumed run has the patience that is left."""
    looks = [entry["val_auc"] for entry in history if "val_auc" in entry]
    return len(looks) - 1 - looks.index(max(looks)) if looks else 0
