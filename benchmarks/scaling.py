"""What a bigger machine would give: a small model on paper, its assumptions, and how far it is off where it can be checked.

    python -m benchmarks.scaling benchmarks/results/frames.json benchmarks/results/load.json

The model of one request: ``latency(T) = a + b T``, with ``a`` what a request costs whatever its length (sockets, two models,
scheduling) and ``b`` what a frame costs; both fitted to a ``bench frames`` run. Throughput at many clients is then at most
``1 / b`` frames a second, which a ``bench load`` run of the same machine checks.

A node of N cores: frames are independent in the encoder, so ``b`` is taken to shrink as 1/N, times an efficiency for what cores share
(memory bandwidth, the last cache, power). A GPU: the operations of a frame over the share of its matrix peak that such networks reach.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError, UsageError
from benchmarks.record import Record, load

CORE_EFFICIENCY = (0.6, 0.85)
"""Low and high guess of a 64-core node's efficiency against 2 cores; vector-heavy code loses clock and shares memory bandwidth."""
H200_BF16_FLOPS = 790e12
"""Dense bf16 matrix products, as measured on such a card; its data sheet says 989e12."""
GPU_SHARE_OF_PEAK = (0.03, 0.10)
"""Low and high guess: grouped convolutions with 4 to 32 channels a group leave most of a matrix unit idle."""


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


def report(frames_run: Record, load_run: Record | None, *, operations_per_frame: float) -> str:
    """The estimates as text, with their assumptions and the check."""
    model = fit(frames_run)
    cores = int(frames_run.machine["cores"])
    lines = [
        f"measured on {cores} cores ({frames_run.machine['processor']}): {1e3 * model.fixed_s:.1f} ms + {1e3 * model.per_frame_s:.2f} ms "
        f"a frame; largest error from T=20 on {100 * model.worst_error:.0f}%",
        f"so at most {model.frames_per_s():.0f} frames/s here",
    ]
    if load_run is not None:
        best = max(
            (s.figures["frames_per_s"] for s in load_run.series if s.labels.get("kind") == "closed" and s.samples), default=0
        )
        if best:
            lines.append(
                f"check: the best closed loop reached {best:.0f} frames/s, {100 * best / model.frames_per_s():.0f}% of that"
            )
    low, high = (model.frames_per_s() * 64 / cores * share for share in CORE_EFFICIENCY)
    lines.append(
        f"a node of 64 such cores: {low:,.0f} to {high:,.0f} frames/s (frames are independent; efficiency {CORE_EFFICIENCY[0]:.0%} to "
        f"{CORE_EFFICIENCY[1]:.0%} for shared memory bandwidth and clock: assumed, not measured)"
    )
    low, high = (H200_BF16_FLOPS * share / operations_per_frame for share in GPU_SHARE_OF_PEAK)
    lines.append(
        f"one H200: {low:,.0f} to {high:,.0f} frames/s ({operations_per_frame / 1e9:.2f} GFLOP a frame at 112 px; "
        f"{GPU_SHARE_OF_PEAK[0]:.0%} to {GPU_SHARE_OF_PEAK[1]:.0%} of {H200_BF16_FLOPS / 1e12:.0f} TFLOP/s: assumed, not measured); "
        f"at 37.6 kB a frame that is {low * 37632 / 1e9:.1f} to {high * 37632 / 1e9:.1f} GB/s of pixels, so the network comes first"
    )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Prints the estimates for the given result files."""
    from benchmarks.engines.peak import multiply_adds_per_frame

    try:
        records = [load(Path(argument)) for argument in arguments]
        by_kind = {record.kind: record for record in records}
        if "frames" not in by_kind:
            raise UsageError("give at least the result of one `unmask bench frames` run with T=1 in it")
        print(report(by_kind["frames"], by_kind.get("load"), operations_per_frame=2 * multiply_adds_per_frame()))
    except BenchmarkError as error:
        print(f"benchmarks.scaling: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
