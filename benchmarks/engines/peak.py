"""How far an engine is from what the processor can do: a large matrix product in the same precision, on the same threads.

That product is the most regular work there is, so no network reaches it; what is left between them is memory traffic, small
matrices (grouped convolutions have 4 to 32 channels) and everything that is not a product.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

SIZE = 2048
TRIALS = 6
LEAST_S = 0.5
"""Trials go on until they took so long together: a product in bf16 takes milliseconds, and a disturbance lasts longer."""


def multiply_adds_per_frame(image_size_px: int = 112) -> int:
    """Multiply-adds of the encoder's convolutions for one frame, counted by running it once.

    2 x this is what is called FLOPs.
    """
    import torch

    from export.resnext import ResNeXt50

    total = 0

    def count(module: Any, _: Any, output: Any) -> None:
        nonlocal total
        weights = module.weight
        total += int(output.numel() * weights.shape[1] * weights.shape[2] * weights.shape[3])

    network = ResNeXt50().eval()
    handles = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.inference_mode():
        network(torch.zeros(1, 3, image_size_px, image_size_px))
    for handle in handles:
        handle.remove()
    return total


def peak_flops(precision: str, *, threads: int = 0) -> float:
    """FLOP/s of a 2048 x 2048 product; the best of several trials, since it stands for what is possible.

    ``int8`` multiplies int8 matrices into int32, in both layouts of the second one, and the faster layout counts.

    Args:
        threads: Processor threads; 0 takes all.

    Raises:
        ValueError: Another precision.
        RuntimeError: torch cannot multiply in this one here.
        ImportError: There is no torch.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    try:
        return max(2 * SIZE**3 / _fastest_s(product) for product in _products(torch, precision))
    finally:
        torch.set_num_threads(before)


def _products(torch: Any, precision: str) -> list[Callable[[], object]]:
    if precision == "int8":
        a, b = (torch.randint(-128, 128, (SIZE, SIZE), dtype=torch.int8) for _ in range(2))
        return [partial(torch._int_mm, a, b), partial(torch._int_mm, a, b.t())]
    if precision in ("fp32", "bf16"):
        kind = torch.float32 if precision == "fp32" else torch.bfloat16
        return [partial(torch.mm, torch.randn(SIZE, SIZE).to(kind), torch.randn(SIZE, SIZE).to(kind))]
    raise ValueError(f"precision is {precision!r}; a peak is measured for fp32, bf16 and int8")


def _fastest_s(product: Callable[[], object]) -> float:
    product()
    taken: list[float] = []
    while len(taken) < TRIALS or sum(taken) < LEAST_S:
        start = time.perf_counter()
        product()
        taken.append(time.perf_counter() - start)
    return min(taken)
