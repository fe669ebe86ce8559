"""What a transport does, whichever the wire is: the contract that gRPC and HTTP keep alike."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from client.errors import BadResponse, DeadlineExceeded, InvalidFrames

INPUT = "FRAMES"
"""The ensemble's input, UINT8 [T, H, W, 3] RGB."""


class Deadline:
    """A budget of time, counted from now; each step of a request is given what is left of it."""

    def __init__(self, budget_s: float, url: str) -> None:
        self.budget_s = budget_s
        self._url = url
        self._end = time.monotonic() + budget_s

    def remaining_s(self) -> float:
        """Seconds left, above 0.

        Raises:
            DeadlineExceeded: None are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self) -> DeadlineExceeded:
        """The error to raise when the budget is used up."""
        return DeadlineExceeded(
            f"{self._url} did not answer within the deadline of {self.budget_s:g} s; "
            "give a longer --deadline, fewer frames, or a faster server"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What the server says of the detector at this moment."""

    version: str
    """The version that a request without one is given: the highest."""
    parameters: dict[str, str]
    """Of the ensemble."""
    composing: dict[str, dict[str, str]]
    """Parameters of each composing model, in the order of the ensemble's steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferAnswer:
    """An answer as it came off the wire; shapes agree with the bytes, values are unchecked."""

    model_version: str
    outputs: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """Triton's counters of one model since it was loaded."""

    successes: int
    executions: int
    queue_ns: int
    compute_ns: int
    """Input, inference and output together."""


class Transport(Protocol):
    """One server. Safe to share between threads; not across a fork."""

    def describe(self, detector: str, deadline: Deadline) -> ModelDescription:
        """Reads the detector's configuration and that of its composing models."""

    def ready_models(self, deadline: Deadline) -> list[str]:
        """Names of all models that are ready, composing ones included."""

    def infer(self, detector: str, frames: NDArray[np.uint8], deadline: Deadline) -> InferAnswer:
        """Sends (T, H, W, 3) frames. Checks nothing of them: the caller does, or wants the server's word."""

    def statistics(self, deadline: Deadline) -> dict[str, ModelStatistics]:
        """Counters by model name."""

    def close(self) -> None:
        """Lets go of the connections."""


def tensor(name: str, datatype: str, shape: list[int], raw: memoryview | bytes, url: str) -> NDArray[np.float32]:
    """One FP32 output, a view of the received bytes.

    Raises:
        BadResponse: Another datatype, a negative dimension, or a shape that the number of bytes contradicts.
    """
    if datatype != "FP32":
        raise BadResponse(f"{url} answered {name} as {datatype}; the contract says FP32; is this an Unmask detector?")
    if any(dimension < 0 for dimension in shape):
        raise BadResponse(f"{url} answered {name} with shape {shape}; dimensions are not negative")
    expected = 4 * int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected:
        raise BadResponse(f"{url} answered {name} with shape {shape} and {len(raw)} bytes; that shape has {expected} bytes")
    return np.frombuffer(raw, dtype="<f4").reshape(shape)


def datatype(frames: NDArray[Any]) -> str:
    """The wire's name of an array's dtype. The detector takes UINT8 alone; the others are for asking the server itself.

    Raises:
        InvalidFrames: The dtype has no name here.
    """
    names = {"uint8": "UINT8", "int8": "INT8", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32"}
    if frames.dtype.name not in names:
        raise InvalidFrames(f"frames are {frames.dtype}; the detector takes uint8")
    return names[frames.dtype.name]


def latest(versions: Iterable[str]) -> str:
    """The version that Triton's default policy serves: the highest number; empty where there is none."""
    return max(versions, key=lambda version: int(version) if version.isdigit() else -1, default="")
