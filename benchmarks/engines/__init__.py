"""The engines that run a detector without a server: frames -> each frame's logits, in this process."""

from benchmarks.engines.base import Engine
from benchmarks.engines.registry import ENGINES, engines_of, make

__all__ = ["ENGINES", "Engine", "engines_of", "make"]
