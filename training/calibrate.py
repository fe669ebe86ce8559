"""Temperature, threshold and abstain band, fitted on validation scores and nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import EmptyClassError, EvaluationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is written into the weights' metadata."""

    temperature: float
    threshold: float
    abstain_low: float
    abstain_high: float


def calibrate(
    margins: NDArray[np.float64], labels: NDArray[np.int64], *, genuine_margins: NDArray[np.float64] | None = None,
    max_false_alarms: float = 0.05, max_certain_false_alarms: float = 0.02, max_misses: float = 0.1,
) -> Calibration:  # fmt: skip
    """Fits all four.

    Temperature: least negative log-likelihood (Guo et al., ICML 2017). Threshold: where balanced accuracy is best among
    those that at most ``max_false_alarms`` of the genuine reach. Abstain band: from the score below which at most ``max_misses``
    of the fakes lie up to the one above which at most ``max_certain_false_alarms`` of the genuine lie, the threshold included.

    Args:
        margins: Logit of fake minus logit of real, (N,).
        labels: 0 real, 1 fake.
        genuine_margins: Further genuine clips (real videos) that have to keep the limits on false alarms, too.

    Raises:
        EmptyClassError: One class only.
        EvaluationError: A margin is not finite.
    """
    from scipy.optimize import minimize_scalar

    if set(labels.tolist()) != {0, 1}:
        raise EmptyClassError(f"calibration has labels {sorted(set(labels.tolist()))}; both real (0) and fake (1) are needed")
    # Each kind of genuine clips has to keep the limits by itself: an easy kind must not make room for false alarms in another.
    genuine = [margins[labels == 0], *([] if genuine_margins is None else [genuine_margins])]
    if not np.isfinite(np.concatenate([margins, *genuine])).all():
        raise EvaluationError("some validation margins are not finite; the weights are broken, train anew")
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signs * margins / np.exp(log_temperature)).mean())

    # Bounds: beyond them the scores would be all 0.5 or all 0 and 1.
    temperature = float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))
    cuts = np.unique(margins)
    middles = np.concatenate([[cuts[0] - 1], (cuts[1:] + cuts[:-1]) / 2, [cuts[-1] + 1]])
    balanced = [(np.mean(margins[labels == 1] >= cut) + np.mean(margins[labels == 0] < cut)) / 2 for cut in middles]
    allowed = [
        value if all(np.mean(kind >= cut) <= max_false_alarms for kind in genuine) else -1.0
        for cut, value in zip(middles, balanced, strict=True)
    ]
    # Where further genuine clips lie above every cut, the one above all of them is left.
    above_all = max(float(kind.max()) for kind in genuine) + 1
    threshold = float(middles[int(np.argmax(allowed))]) if max(allowed) >= 0 else above_all
    low = min(threshold, float(np.quantile(margins[labels == 1], max_misses)))
    high = max(threshold, *(float(np.quantile(kind, 1 - max_certain_false_alarms)) for kind in genuine))
    a, b, c = (_score(value, temperature) for value in (low, threshold, high))
    return Calibration(temperature=temperature, abstain_low=a, threshold=b, abstain_high=c)


def _score(margin: float, temperature: float) -> float:
    """Rounded to what people read, four places."""
    return round(float(1 / (1 + np.exp(-np.clip(margin / temperature, -50, 50)))), 4)
