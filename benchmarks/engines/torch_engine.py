"""PyTorch as people run it: eager; and what it can do on this machine without leaving it."""

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import EngineUnavailable

Variant = Literal["eager", "channels-last", "bf16", "compile"]
MICRO_BATCHES = (4, 8, 16, 32)


class TorchEngine:
    """The modules of the detector that the repository serves, on the processor or on CUDA.

    Args:
        variant: ``eager`` is one forward pass over the whole clip, as published code does it. ``channels-last``, ``bf16``
            (channels last, autocast) and ``compile`` (Inductor) may cut the clip into micro-batches where that is faster.
        weights_sha256: What the repository says of its detector.
        checkpoint: The file that it was made of, where it is neither the shipped detector nor the seeded one.
        device: ``cpu`` or ``cuda``.
        threads: Processor threads; 0 takes all.
    """

    def __init__(
        self, variant: Variant, weights_sha256: str, *, checkpoint: Path | None = None, device: str = "cpu", threads: int = 0
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise EngineUnavailable(
                f"torch cannot be imported ({error}); install it with `pip install 'unmask[export]'`"
            ) from None
        if device == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailable("torch sees no CUDA device; use the engines of the processor")
        from export.default_detector import detector_of
        from export.errors import CheckpointError

        try:
            found = detector_of(weights_sha256, checkpoint=checkpoint)
        except CheckpointError as error:
            raise EngineUnavailable(str(error)) from error
        if found is None:
            others = f", nor those in {checkpoint}" if checkpoint else "; name the file that it was made of with --checkpoint"
            raise EngineUnavailable(
                f"the repository serves weights {weights_sha256[:16]}, which are neither those in weights/ nor the seeded ones{others}"
            )
        if threads:
            torch.set_num_threads(threads)
        self.name, self.precision = (
            f"torch-{'cuda-' if device == 'cuda' else ''}{variant}",
            "bf16" if variant == "bf16" else "fp32",
        )
        self._torch, self._device, self._variant = torch, device, variant
        encoder, head, _ = found
        self.size_bytes = sum(
            value.numel() * value.element_size() for module in (encoder, head) for value in module.state_dict().values()
        )
        modules: Any = encoder.to(device)
        self._encoder = modules
        self._head: Any = head.to(device)
        if variant != "eager":
            self._encoder = modules.to(memory_format=torch.channels_last)
        if variant == "compile":
            self._encoder = torch.compile(self._encoder, dynamic=True)
        self._micro_batch = 1_000_000

    def tune(self, frames: int) -> dict[str, Any]:
        """See ``Engine``."""
        if self._variant == "eager":
            return {"micro_batch_frames": frames}
        batch = np.zeros((frames, 112, 112, 3), np.uint8)
        best: dict[int, float] = {}
        for trial in range(3):
            for size in sorted({min(size, frames) for size in (*MICRO_BATCHES, frames)}):
                self._micro_batch = size
                start = time.perf_counter()
                try:
                    self.encode(batch)
                except Exception as error:
                    if self._variant == "compile":  # Inductor needs a C++ compiler, and says so in many ways
                        raise EngineUnavailable(f"torch.compile does not work here: {str(error).splitlines()[0]}") from error
                    raise
                if trial:
                    best[size] = min(best.get(size, float("inf")), time.perf_counter() - start)
        self._micro_batch = min(best, key=lambda size: best[size])
        return {"micro_batch_frames": self._micro_batch, "tried": len(best)}

    def _features(self, frames: NDArray[np.uint8]) -> Any:
        torch = self._torch
        with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._variant == "bf16"):
            parts = torch.from_numpy(frames).to(self._device).split(self._micro_batch)
            return torch.cat([self._encoder(part).float() for part in parts])

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        with self._torch.inference_mode():
            features: NDArray[np.float32] = self._features(frames).cpu().numpy()
            return features

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        with self._torch.inference_mode():
            logits: NDArray[np.float32] = self._head(self._features(frames)).cpu().numpy()
            return logits

    def close(self) -> None:
        """See ``Engine``."""
        del self._encoder, self._head
