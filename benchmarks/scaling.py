"""What a bigger machine would give: a small model on paper, its assumptions, and how far it is off where it can be checked.

    python -m benchmarks.scaling benchmarks/results/{frames,load,engines,pipeline}.json

One request: ``latency(T) = a + b T``, with ``a`` what a request costs whatever its length (sockets, two models, scheduling) and ``b``
what a frame costs; both fitted to a ``bench frames`` run. ``1 / b`` frames a second is then the ceiling that many clients can share; a
``bench load`` run of the same machine says what they really get, and the estimates begin there. A second ``bench frames`` run with
``--threads 1`` says what a second core brought.

A node of N cores: copies of the measured server side by side, each on as many cores as were measured, so that nothing but memory bandwidth,
the last cache and power are shared; latency stays what it is. A GPU: the operations of a frame over the share of its matrix peak that such
networks reach. Neither counts what comes before: decoding and faces, which a ``bench pipeline`` run shows.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError, UsageError
from benchmarks.record import Record, load

NODE_CORES = 64
CORE_EFFICIENCY = (0.6, 0.85)
"""Low and high guess of what a core of a full node gives against one of a small machine: clock, memory bandwidth and cache are shared."""
H200_BF16_FLOPS = 790e12
"""Dense bf16 matrix products as they are reached in practice; the data sheet says 989e12."""
GPU_SHARE_OF_PEAK = (0.03, 0.10)
"""Low and high guess: grouped convolutions with 4 to 32 channels a group leave most of a matrix unit idle."""
FRAME_BYTES = 112 * 112 * 3
ONE_THREAD = "frames on one thread"
"""Name of a ``bench frames --threads 1`` run beside one with all cores."""


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """``a + b T`` seconds."""

    fixed_s: float
    per_frame_s: float
    worst_error: float
    """Largest relative error over the lengths from 20 on that it was fitted to."""

    def frames_per_s(self) -> float:
        """The most that many clients can get."""
        return 1 / self.per_frame_s


def fit(record: Record, path: str = "grpc") -> LatencyModel:
    """Fits the model to a ``bench frames`` run, weighting relative errors alike.

    Raises:
        UsageError: The run has fewer than three lengths of this path.
    """
    points = sorted(
        (int(series.labels["frames"]), float(np.median(series.samples)))
        for series in record.series
        if series.labels.get("path") == path and series.samples
    )
    if len(points) < 3:
        raise UsageError(f"the run has {len(points)} lengths over {path}; the model needs 3 or more, with T=1 among them")
    frames, seconds = (np.array(column, float) for column in zip(*points, strict=True))
    weights = 1 / seconds
    design = np.stack([np.ones_like(frames), frames], axis=1)
    (fixed, per_frame), *_ = np.linalg.lstsq(design * weights[:, None], seconds * weights, rcond=None)
    error = np.abs((fixed + per_frame * frames) / seconds - 1)
    long = frames >= 20
    return LatencyModel(float(fixed), float(per_frame), float(error[long].max()) if long.any() else float(error.max()))


def report(records: dict[str, Record], *, operations_per_frame: float) -> str:
    """The estimates as text, with their assumptions and checks.

    Args:
        records: Runs by kind: ``frames`` at least; ``load``, ``engines``, ``pipeline`` and, under ``ONE_THREAD``, another ``frames`` add
            checks and what they alone can say.

    Raises:
        UsageError: Runs are missing or of different machines.
    """
    if "frames" not in records:
        raise UsageError("give at least the result of one `unmask bench frames` run with T=1 in it")
    frames_run = records["frames"]
    for kind, record in records.items():
        if any(record.machine[key] != frames_run.machine[key] for key in ("processor", "cores")):
            raise UsageError(f"the {kind} run is from another machine than the frames run; give runs of one machine")
    model = fit(frames_run)
    cores = int(frames_run.machine["cores"])
    lines = [
        f"measured on {cores} cores ({frames_run.machine['processor']}): {1e3 * model.fixed_s:.1f} ms + {1e3 * model.per_frame_s:.2f} ms "
        f"a frame; largest error from T=20 on {100 * model.worst_error:.0f}%",
        f"ceiling here: {model.frames_per_s():.0f} frames/s",
    ]
    if ONE_THREAD in records:
        alone = fit(records[ONE_THREAD])
        lines.append(
            f"check: on one thread a frame costs {1e3 * alone.per_frame_s:.2f} ms, so each of {cores} cores gives "
            f"{alone.per_frame_s / model.per_frame_s / cores:.0%} of what one alone does"
        )
    reached = model.frames_per_s()
    if "load" in records:
        check, reached = _check(model, records["load"])
        lines += check
    lines += _node(model, reached, frames_run, cores)
    lines += _gpu(records.get("engines"), operations_per_frame)
    if "pipeline" in records:
        lines += _from_files(records["pipeline"], cores)
    return "\n".join(lines)


def _check(model: LatencyModel, load_run: Record) -> tuple[list[str], float]:
    """The model against closed loops; and the most frames a second that they reached."""
    closed = {
        float(s.labels["load"]): float(s.figures["frames_per_s"])
        for s in load_run.series
        if s.labels.get("kind") == "closed" and s.labels.get("outcome") == "answered" and s.samples
    }
    if not closed:
        return ["no check: the load run has no closed loop"], model.frames_per_s()
    lines = []
    if 1.0 in closed:
        mean = float(np.mean(load_run.settings["frames"]))
        expected = mean / (model.fixed_s + model.per_frame_s * mean)
        lines.append(
            f"check: one client with {mean:.0f} frames a request should get {expected:.0f} frames/s and got {closed[1.0]:.0f} "
            f"({100 * closed[1.0] / expected:.0f}%)"
        )
    clients, best = max(closed.items(), key=lambda item: item[1])
    lines.append(
        f"check: the best closed loop ({clients:.0f} clients) reached {best:.0f} frames/s, "
        f"{100 * best / model.frames_per_s():.0f}% of the ceiling; the low estimate begins there, the high one at the ceiling"
    )
    return lines, min(best, model.frames_per_s())


def _node(model: LatencyModel, reached: float, frames_run: Record, cores: int) -> Iterator[str]:
    copies = NODE_CORES / cores
    low, high = reached * copies * CORE_EFFICIENCY[0], model.frames_per_s() * copies * CORE_EFFICIENCY[1]
    yield (
        f"a node of {NODE_CORES} such cores: {low:,.0f} to {high:,.0f} frames/s as {copies:.0f} servers of {cores} cores behind one "
        f"address, T=100 in {1e3 * (model.fixed_s + 100 * model.per_frame_s):.0f} ms or up to {1 / CORE_EFFICIENCY[0]:.1f} times that "
        f"(efficiency of a core {CORE_EFFICIENCY[0]:.0%} to {CORE_EFFICIENCY[1]:.0%}: assumed, not measured)"
    )
    memory = max((float(s.figures.get("server_memory_mb", 0.0)) for s in frames_run.series), default=0.0)
    if memory:
        yield f"its memory: {copies * memory / 1e3:.0f} GB ({memory:.0f} MB each, the most that was measured up to T=256)"


def _gpu(engines_run: Record | None, operations_per_frame: float) -> Iterator[str]:
    low, high = (H200_BF16_FLOPS * share / operations_per_frame for share in GPU_SHARE_OF_PEAK)
    yield (
        f"one H200: {low:,.0f} to {high:,.0f} frames/s ({operations_per_frame / 1e9:.2f} GFLOP a frame at 112 px; "
        f"{GPU_SHARE_OF_PEAK[0]:.0%} to {GPU_SHARE_OF_PEAK[1]:.0%} of {H200_BF16_FLOPS / 1e12:.0f} TFLOP/s: assumed, not measured); "
        f"that is {8 * low * FRAME_BYTES / 1e9:.0f} to {8 * high * FRAME_BYTES / 1e9:.0f} Gbit/s of pixels"
    )
    shares = {
        str(s.labels["precision"]): float(s.figures["share_of_peak"])
        for s in (engines_run.series if engines_run else ())
        if s.labels.get("served") == "no" and s.labels["precision"] in ("bf16", "int8") and "share_of_peak" in s.figures
    }
    if shares:
        text = ", ".join(f"{100 * share:.0f}% in {precision}" for precision, share in shares.items())
        yield (
            f"for comparison: the processor measured here reaches {text} of its own matrix peak, whose caches are large against it; "
            "a GPU reaches less"
        )


def _from_files(pipeline_run: Record, cores: int) -> Iterator[str]:
    whole = pipeline_run.find(pipeline="unmask", frames=pipeline_run.settings["frames"])
    request = pipeline_run.find(pipeline="unmask", stage="request")
    if whole is None or request is None:
        return
    frames, whole_s, request_s = (
        int(pipeline_run.settings["frames"]),
        float(np.median(whole.samples)),
        float(np.median(request.samples)),
    )
    low, high = (NODE_CORES / cores / whole_s * share for share in CORE_EFFICIENCY)
    yield (
        f"from file to verdict ({pipeline_run.settings['video']}, {frames} frames): {whole_s:.2f} s on {cores} cores, "
        f"{1 - request_s / whole_s:.0%} of it decoding and faces; a node of {NODE_CORES} cores: {low:.0f} to {high:.0f} such clips/s. What "
        "feeds the network is the limit, and a GPU for the network alone does not lift it"
    )


def main(arguments: list[str]) -> int:
    """Prints the estimates for the given result files."""
    from benchmarks.engines.peak import multiply_adds_per_frame

    try:
        records = [load(Path(argument)) for argument in arguments]
        named = {ONE_THREAD if r.kind == "frames" and r.settings.get("threads") == 1 else str(r.kind): r for r in records}
        text = report(named, operations_per_frame=2 * multiply_adds_per_frame())
    except (BenchmarkError, KeyError) as error:
        print(f"benchmarks.scaling: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
