"""How far an engine is from what the processor can do: a large matrix product in the same precision, on the same threads.

That product is the most regular work there is, so no network reaches it; what is left between them is memory traffic, small
matrices (grouped convolutions have 4 to 32 channels) and everything that is not a product.
"""

import time
from typing import Any

import numpy as np

SIZE = 2048
TRIALS = 6


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


def peak_flops(precision: str) -> float:
    """FLOP/s of a 2048 x 2048 product; the best of a few trials, since it stands for what is possible.

    ``int8`` multiplies int8 matrices into int32. Raises ``ValueError`` for another precision, ``RuntimeError`` where torch cannot.
    """
    import torch

    if precision == "int8":
        a = torch.randint(-128, 127, (SIZE, SIZE), dtype=torch.int8)
        b = torch.randint(-128, 127, (SIZE, SIZE), dtype=torch.int8)

        def product() -> object:
            return torch._int_mm(a, b)
    elif precision in ("fp32", "bf16"):
        kind = torch.float32 if precision == "fp32" else torch.bfloat16
        x, y = torch.randn(SIZE, SIZE).to(kind), torch.randn(SIZE, SIZE).to(kind)

        def product() -> object:
            return x @ y
    else:
        raise ValueError(f"precision is {precision!r}; a peak is measured for fp32, bf16 and int8")
    best = np.inf
    for trial in range(TRIALS + 1):
        start = time.perf_counter()
        product()
        if trial:
            best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / float(best)
