"""The parity report as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.report import Row

_COLOURS = {"fp32": "#4c72b0", "fp16": "#8172b3", "bf16": "#55a868", "int8": "#dd8452"}


def plot(rows: Sequence["Row"], path: Path) -> None:
    """Bars of |difference of logits| (log) and of frames a second, one pair of panels a detector."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row.detector for row in rows))
    figure, panels = plt.subplots(len(names), 2, figsize=(11, 0.5 + 3.4 * len(names)), squeeze=False, layout="constrained")
    for (left, right), name in zip(panels, names, strict=True):
        mine = [row for row in rows if row.detector == name]
        kind = "real" if any(row.inputs == "real" for row in mine) else "random"
        shown = [row for row in mine if row.inputs == kind][::-1]
        labels = [f"{row.engine}\n{row.precision}" for row in shown]
        colours = [_COLOURS.get(row.precision.split("+")[0], "#777777") for row in shown]
        # PyTorch differs from itself by nothing, which a logarithmic axis cannot show.
        left.barh(labels, [max(row.logits_max, 1e-9) for row in shown], color=colours)
        left.set_xscale("log")
        left.set_xlim(1e-8, 10)
        for limit in (1e-4, 1e-2):
            left.axvline(limit, color="#333333", linewidth=0.8, linestyle=":")
        left.set_xlabel(f"max |difference of logits| from PyTorch, {kind} frames; dotted: limits of fp32, fp16", fontsize=9)
        left.set_title(name, loc="left", fontsize=10)
        bars = right.barh(labels, [row.frames_per_s for row in shown], color=colours)
        right.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        right.margins(x=0.12)
        right.set_xlabel("frames a second at T=100, median", fontsize=9)
        for panel in (left, right):
            panel.tick_params(labelsize=8)
            panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
