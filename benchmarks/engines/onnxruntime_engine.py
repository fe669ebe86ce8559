"""ONNX Runtime on the exported graphs: the processor in fp32, or CUDA in fp16."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import EngineUnavailable

MICRO_BATCHES = (4, 8, 16, 32)


class OnnxRuntimeEngine:
    """Encoder and head as two sessions.

    Args:
        provider: ``CPUExecutionProvider`` or ``CUDAExecutionProvider``.
        threads: Processor threads; 0 takes all.
    """

    def __init__(self, encoder: Path, head: Path, *, precision: str, provider: str, threads: int = 0) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise EngineUnavailable(
                f"onnxruntime cannot be imported ({error}); install it with `pip install 'unmask[serve]'`"
            ) from None
        if provider not in ort.get_available_providers():
            raise EngineUnavailable(
                f"this onnxruntime has no {provider} ({', '.join(ort.get_available_providers())}); install onnxruntime-gpu"
            )
        short = "cuda-" if provider.startswith("CUDA") else ""
        self.name, self.precision = f"onnxruntime-{short}{precision}", precision
        self.size_bytes = encoder.stat().st_size + head.stat().st_size
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # A pool that spins between two calls takes its core from whoever is measured next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._encoder = ort.InferenceSession(str(encoder), options, providers=[provider])
        self._head = ort.InferenceSession(str(head), options, providers=[provider])
        self._micro_batch = 16

    def tune(self, frames: int) -> dict[str, Any]:
        """See ``Engine``."""
        batch = np.zeros((frames, *self._encoder.get_inputs()[0].shape[1:]), np.uint8)
        best: dict[int, float] = {}
        for trial in range(3):
            for size in sorted({min(size, frames) for size in (*MICRO_BATCHES, frames)}):
                self._micro_batch = size
                start = time.perf_counter()
                self.encode(batch)
                if trial:
                    best[size] = min(best.get(size, float("inf")), time.perf_counter() - start)
        self._micro_batch = min(best, key=lambda size: best[size])
        return {"micro_batch_frames": self._micro_batch, "tried": len(best)}

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        parts = -(-len(frames) // self._micro_batch)
        return np.concatenate([self._encoder.run(["FEATURES"], {"FRAMES": part})[0] for part in np.array_split(frames, parts)])

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        logits: NDArray[np.float32] = self._head.run(["FRAME_LOGITS"], {"FEATURES": self.encode(frames)})[0]
        return logits

    def close(self) -> None:
        """See ``Engine``."""
        del self._encoder, self._head
