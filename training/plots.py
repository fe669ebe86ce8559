"""Curves as PNG."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _BLUE, _RED, _GREY = "#1f2430", "#2f6fb3", "#b3412f", "#9aa3b2"


def _figure(columns: int, width_in: float, height_in: float) -> "tuple[Figure, list[Axes]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, number + 1) for number in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=_INK)
        axis.grid(True, color="#e3e6ec", linewidth=0.7)
    return figure, axes


def training_curves(history: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Loss and validation AUC against steps."""
    figure, (left, right) = _figure(2, 10, 3.6)
    steps = [entry for entry in history if "loss" in entry]
    checks = [entry for entry in history if "val_auc" in entry]
    x = [entry["step"] for entry in steps]
    for name, label, colour in (("classification", "classification", _BLUE), ("maps", "blend maps", _GREY)):
        values = np.array([entry[name] for entry in steps], float)
        left.plot(x, values, color=colour, alpha=0.25, linewidth=0.8)
        left.plot(x, _smooth(values), color=colour, label=label)
    for before, after in pairwise(steps):
        if before["window_px"] != after["window_px"]:
            left.axvline(after["step"], color=_RED, linewidth=0.8, linestyle=":")
            left.annotate(f"{after['window_px']:.0f} px", (after["step"], left.get_ylim()[1]), color=_RED, fontsize=8, va="top")
    left.set(xlabel="step", ylabel="loss", title="Loss on the training batches")
    left.legend(frameon=False)
    names = sorted({name for entry in checks for name in entry if name.startswith("val_auc")})
    for number, name in enumerate(names):
        label = name.removeprefix("val_auc").strip("_").replace("_", " ") or "mean"
        colour, thick = (_INK, 2.2) if label == "mean" else (f"C{number}", 1.2)
        right.plot(
            [entry["step"] for entry in checks],
            [entry[name] for entry in checks],
            marker="o",
            markersize=3,
            label=label,
            color=colour,
            linewidth=thick,
        )
    right.axhline(0.5, color=_GREY, linewidth=0.8, linestyle="--")
    right.set(xlabel="step", ylabel="AUC", title="Validation, moving average of the weights", ylim=(0.45, 1.0))
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    return path


def evaluation_curves(labels: Sequence[int], scores: Sequence[float], threshold: float, path: Path) -> Path:
    """ROC, precision against recall, reliability; both classes must be there."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    y, s = np.asarray(labels), np.asarray(scores, float)
    figure, (roc, pr, reliability) = _figure(3, 12, 3.8)
    false_alarms, hits, _ = roc_curve(y, s)
    roc.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=0.8)
    roc.plot(false_alarms, hits, color=_BLUE)
    called = s >= threshold
    roc.plot(
        [(called & (y == 0)).sum() / max((y == 0).sum(), 1)],
        [(called & (y == 1)).sum() / max((y == 1).sum(), 1)],
        "o",
        color=_RED,
        label=f"threshold {threshold:.2f}",
    )
    roc.set(xlabel="false alarms", ylabel="fakes found", title="ROC", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    roc.legend(frameon=False, loc="lower right")
    precision, recall, _ = precision_recall_curve(y, s)
    pr.plot(recall, precision, color=_BLUE)
    pr.axhline(y.mean(), color=_GREY, linestyle="--", linewidth=0.8)
    pr.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    place = np.minimum((s * 10).astype(int), 9)
    bins = [b for b in range(10) if (place == b).any()]
    reliability.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=0.8)
    sizes = [15 + 160 * (place == b).mean() for b in bins]
    reliability.scatter([s[place == b].mean() for b in bins], [y[place == b].mean() for b in bins], s=sizes, color=_BLUE)
    reliability.set(
        xlabel="score",
        ylabel="share of fakes",
        title="Reliability (area: share of clips)",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    figure.savefig(path, dpi=110)
    return path


def _smooth(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]", width: int = 15
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    out, mean = np.empty_like(values), float(values[0]) if len(values) else 0.0
    for index, value in enumerate(values):
        mean += (value - mean) * 2 / (width + 1)
        out[index] = mean
    return out
