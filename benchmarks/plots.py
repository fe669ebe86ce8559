"""Plots of result files, as PNG."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import EngineUnavailable
from benchmarks.record import Record, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2463a8", "#d1662a", "#3f8f57", "#8a4fa3", "#a8323e", "#6b6b6b", "#b8952b")
SIZE_INCHES = (8.0, 4.5)
DPI = 120


def draw(record: Record, folder: Path, stem: str) -> list[tuple[Path, str]]:
    """Writes the plots of one run; (file, what it shows) of each.

    Raises:
        EngineUnavailable: matplotlib is not installed.
    """
    plots = [(name, title, drawing) for name, title, drawing in _PLOTS.get(record.kind, ())]
    written = []
    for name, title, drawing in plots:
        if (path := _draw(record, folder / f"{stem}-{name}.png", title, drawing)) is not None:
            written.append((path, title))
    return written


def _draw(record: Record, path: Path, title: str, drawing: "Callable[[Axes, Record], bool]") -> Path | None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailable(
            f"matplotlib cannot be imported ({error}); install it with `pip install 'unmask[bench]'`"
        ) from None
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if not drawing(axes, record):
        return None
    mark = "" if record.state == "complete" else f" ({record.state})"
    axes.set_title(title + mark, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if drawing in _SIDEWAYS else "y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    machine = f"{record.machine['processor']}, {record.machine['cores']} cores, {record.started_at[:10]}"
    figure.supxlabel(machine, fontsize=7, color="#777777", x=0.99, ha="right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path


def _by(series: Iterable[Series], label: str) -> dict[str, list[Series]]:
    groups: dict[str, list[Series]] = {}
    for item in series:
        if label in item.labels and item.samples and item.unit == "s":
            groups.setdefault(str(item.labels[label]), []).append(item)
    return groups


def _latency_by_frames(axes: "Axes", record: Record) -> bool:
    groups = _by(record.series, "path")
    for colour, (name, members) in zip(COLOURS, groups.items(), strict=False):
        members.sort(key=lambda item: item.labels["frames"])
        frames = [int(item.labels["frames"]) for item in members]
        low, middle, high = (np.array([1e3 * np.percentile(item.samples, q) for item in members]) for q in (10, 50, 90))
        axes.plot(frames, middle, marker="o", markersize=4, color=colour, label=name)
        axes.fill_between(frames, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("frames in the clip (T)")
    axes.set_ylabel("latency, ms (p50; band p10 to p90)")
    axes.set_ylim(bottom=0)
    if groups:
        axes.legend(frameon=False)
    return bool(groups)


def _cost_by_frames(axes: "Axes", record: Record) -> bool:
    groups = _by(record.series, "path")
    for colour, (name, members) in zip(COLOURS, groups.items(), strict=False):
        members.sort(key=lambda item: item.labels["frames"])
        frames = [int(item.labels["frames"]) for item in members]
        axes.plot(frames, [1e3 * np.median(item.samples) / t for item, t in zip(members, frames, strict=True)],
                  marker="o", markersize=4, color=colour, label=name)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(frames := sorted({int(item.labels["frames"]) for group in groups.values() for item in group}))
    axes.set_xticklabels([str(t) for t in frames])
    axes.minorticks_off()
    axes.set_xlabel("frames in the clip (T), log scale")
    axes.set_ylabel("ms a frame (p50)")
    axes.set_ylim(bottom=0)
    if groups:
        axes.legend(frameon=False)
    return bool(groups)


def _split_by_frames(axes: "Axes", record: Record) -> bool:
    members = [item for item in record.series if item.labels.get("path") == "grpc" and "split_ms" in item.figures]
    if not members:
        return False
    members.sort(key=lambda item: item.labels["frames"])
    positions = np.arange(len(members))
    bottom = np.zeros(len(members))
    for colour, (name, belongs) in zip(COLOURS, _SPLIT.items(), strict=False):
        values = np.array(
            [sum(ms for part, ms in item.figures["split_ms"].items() if part != "total" and belongs(part)) for item in members]
        )
        values = 100 * values / np.array([item.figures["split_ms"]["total"] for item in members])
        axes.bar(positions, values, 0.65, bottom=bottom, label=name, color=colour)
        bottom += values
    axes.set_xticks(positions, [str(item.labels["frames"]) for item in members])
    axes.axhline(100, color="#999999", linewidth=1, linestyle=":")
    axes.set_ylim(0, 1.02 * max(100.0, float(bottom.max())))
    axes.set_xlabel("frames in the clip (T)")
    axes.set_ylabel("% of a request's time (means; clocks overlap a little)")
    axes.figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return True


_SPLIT: "dict[str, Callable[[str], bool]]" = {
    "encoder": lambda part: part == "frame_encoder compute infer",
    "head": lambda part: part == "clip_head compute infer",
    "copies in the server": lambda part: part.endswith(("compute input", "compute output")),
    "queues": lambda part: part.endswith("queue") or part == "ensemble",
    "client": lambda part: part == "client encode",
    "network": lambda part: part == "network",
}


def _engine_bars(axes: "Axes", record: Record) -> bool:
    frames = max((int(item.labels["frames"]) for item in record.series if "frames" in item.labels), default=0)
    members = [item for item in record.series if item.labels.get("frames") == frames and item.samples]
    if not members:
        return False
    members.sort(key=lambda item: float(np.median(item.samples)), reverse=True)
    names = [str(item.labels["engine"]) for item in members]
    middle = np.array([frames / np.median(item.samples) for item in members])
    low = np.array([frames / np.percentile(item.samples, 90) for item in members])
    high = np.array([frames / np.percentile(item.samples, 10) for item in members])
    colours = [COLOURS[0] if item.labels.get("served") == "yes" else "#b9c4d0" for item in members]
    axes.barh(names, middle, xerr=[middle - low, high - middle], color=colours, ecolor="#555555", capsize=2)
    for position, (value, edge) in enumerate(zip(middle, high, strict=True)):
        axes.annotate(f"{value:.0f}", (edge, position), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.margins(x=0.1)
    axes.set_xlabel(f"frames/s at T={frames} (p50; whiskers p10 to p90); dark: through gRPC")
    return True


def _throughput_by_clients(axes: "Axes", record: Record) -> bool:
    members = [item for item in record.series if item.labels.get("kind") == "closed" and item.samples]
    if not members:
        return False
    loads = [float(item.labels["load"]) for item in members]
    axes.plot(loads, [item.figures["frames_per_s"] for item in members], marker="o", color=COLOURS[0], label="frames/s")
    axes.set_ylim(0, 1.25 * max(item.figures["frames_per_s"] for item in members))
    axes.set_xscale("log", base=2)
    axes.set_xticks(loads, [f"{load:g}" for load in loads])
    axes.minorticks_off()
    axes.set_xlabel("clients, each with one request under way")
    axes.set_ylabel("frames/s")
    other = axes.twinx()
    for q, style in ((50, "-"), (99, "--")):
        values = [1e3 * float(np.percentile(item.samples, q)) for item in members]
        other.plot(loads, values, style, marker="s", markersize=4, color=COLOURS[1], label=f"latency p{q}, ms")
    other.set_ylim(bottom=0)
    other.set_ylabel("latency, ms")
    other.spines["top"].set_visible(False)
    knee = record.figures.get("knee", {}).get("clients")
    if knee:
        axes.axvline(knee, color="#999999", linewidth=1, linestyle=":")
        axes.annotate("knee", (knee, 1), xycoords=("data", "axes fraction"), xytext=(-4, -10), textcoords="offset points", fontsize=8,
                      color="#666666", ha="right")  # fmt: skip
    handles: list[Any] = [*axes.get_lines()[:1], *other.get_lines()]
    axes.figure.legend(handles=handles, frameon=False, loc="outside right center", fontsize=8)
    return True


def _open_latency(axes: "Axes", record: Record) -> bool:
    members = [item for item in record.series if item.labels.get("kind") == "open" and item.samples]
    for colour, item in zip(COLOURS, members, strict=False):
        values = np.sort(np.asarray(item.samples)) * 1e3
        style = ":" if item.labels["outcome"] == "refused" else "-"
        axes.plot(values, 100 * np.arange(1, len(values) + 1) / len(values), style, color=colour, label=item.name)
    axes.set_xlabel("latency from the moment a request was due, ms (to the answer, or to the refusal)")
    axes.set_ylabel("share of requests, %")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    if members:
        axes.legend(frameon=False, fontsize=8)
    return bool(members)


def _memory_by_frames(axes: "Axes", record: Record) -> bool:
    members = [item for item in record.series if "server_memory_mb" in item.figures]
    if not members:
        return False
    most: dict[int, float] = {}
    for item in members:
        frames = int(item.labels["frames"])
        most[frames] = max(most.get(frames, 0.0), float(item.figures["server_memory_mb"]))
    axes.plot(sorted(most), [most[frames] for frames in sorted(most)], marker="o", markersize=4, color=COLOURS[0])
    axes.set_xlabel("frames in the clip (T); lengths were measured in this order")
    axes.set_ylabel("server's memory afterwards (PSS), MB")
    axes.set_ylim(bottom=0)
    return True


def _memory(axes: "Axes", record: Record) -> bool:
    members = [item for item in record.series if item.unit == "MB" and len(item.samples) > 1]
    for colour, item in zip(COLOURS, members, strict=False):
        axes.plot(np.linspace(0, 100, len(item.samples)), item.samples, color=colour, label=item.name)
    axes.set_xlabel("share of the run, %")
    axes.set_ylabel("server's memory (PSS), MB")
    axes.set_ylim(bottom=0)
    if members:
        axes.legend(frameon=False)
    return bool(members)


def _pipeline_bars(axes: "Axes", record: Record) -> bool:
    rows = [("unmask", record.find(pipeline="unmask", frames=record.settings.get("frames", 0)))]
    rows += [(f"reference, {stage}", record.find(pipeline="reference", stage=stage))
             for stage in ("single detection pass", "as served")]  # fmt: skip
    found = [
        (name, float(np.median(item.samples)), len(item.samples)) for name, item in rows if item is not None and item.samples
    ]
    if not found:
        return False
    bars = axes.barh([name for name, *_ in found], [value for _, value, _ in found],
                     color=[COLOURS[0] if name == "unmask" else "#b9c4d0" for name, *_ in found])  # fmt: skip
    axes.bar_label(bars, [f" {value:.1f} s (n={count})" for _, value, count in found])
    axes.margins(x=0.2)
    axes.set_xlabel("seconds from file to verdict (p50)")
    return True


def _stage_bars(axes: "Axes", record: Record) -> bool:
    inside = {"server_queue", "server_compute"}  # parts of "request"
    members = [item for item in record.series
               if item.labels.get("pipeline") == "unmask" and "stage" in item.labels and item.labels["stage"] not in inside]  # fmt: skip
    values = [(str(item.labels["stage"]), 1e3 * float(np.median(item.samples))) for item in members if item.samples]
    values = sorted((pair for pair in values if pair[1] >= 1.0), key=lambda pair: pair[1])
    if not values:
        return False
    bars = axes.barh([name for name, _ in values], [value for _, value in values], color=COLOURS[0])
    axes.bar_label(bars, [f" {value:.0f}" for _, value in values])
    axes.margins(x=0.12)
    axes.set_xlabel("ms (p50); stages overlap, so their sum is more than the whole")
    return True


_SIDEWAYS = (_engine_bars, _pipeline_bars, _stage_bars)
"""Their values run along x."""
_PLOTS: "dict[str, tuple[tuple[str, str, Callable[[Axes, Record], bool]], ...]]" = {
    "frames": (
        ("latency", "Latency against the number of frames", _latency_by_frames),
        ("cost", "Cost of a frame against the number of frames", _cost_by_frames),
        ("split", "Where a gRPC request's time goes", _split_by_frames),
        ("memory", "Memory of the server's processes against the number of frames", _memory_by_frames),
    ),
    "engines": (("throughput", "Engines, and the served path on top", _engine_bars),),
    "load": (
        ("clients", "Throughput and latency against clients", _throughput_by_clients),
        ("open", "Latency under Poisson arrivals", _open_latency),
        ("memory", "Memory of the server's processes", _memory),
    ),
    "soak": (("memory", "Memory of the server's processes", _memory),),
    "pipeline": (
        ("whole", "From file to verdict", _pipeline_bars),
        ("stages", "Our stages", _stage_bars),
    ),
}
