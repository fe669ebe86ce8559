"""The ways a clip reaches the server: gRPC and HTTP with this project's client, and system shared memory."""

import os
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import MAX_FRAMES
from benchmarks.errors import UsageError
from benchmarks.servers import Target

PathName = Literal["grpc", "http", "shm"]
DETECTOR = "deepfake_detector"
DEADLINE_S = 120.0


class RequestPath(Protocol):
    """One way to the server."""

    def send(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One request for all outputs; the logits of each frame (T, 2)."""

    def encode(self, frames: NDArray[np.uint8]) -> None:
        """The part of ``send`` that comes before the wire, for the split of its time."""

    def close(self) -> None:
        """Lets go of connections and memory."""


class ClientPath:
    """What ``client.Detector`` sends, over gRPC or HTTP."""

    def __init__(self, url: str) -> None:
        from client import ClientSettings
        from client.connect import connect
        from client.endpoint import parse_url

        self._url = url
        self._transport = connect(parse_url(url), tls=None, settings=ClientSettings())

    def send(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``RequestPath``."""
        from client.transport import Deadline

        answer = self._transport.infer(DETECTOR, frames, Deadline(DEADLINE_S, self._url))
        logits: NDArray[np.float32] = answer.outputs["FRAME_LOGITS"]
        return logits

    def encode(self, frames: NDArray[np.uint8]) -> None:
        """See ``RequestPath``. Over HTTP the pixels go to the socket as they lie."""
        if self._url.startswith("grpc"):
            from client.grpc_transport import encode_request

            encode_request(DETECTOR, frames)

    def close(self) -> None:
        """See ``RequestPath``."""
        self._transport.close()


class SharedMemoryPath:
    """Frames and answers through a segment in /dev/shm that client and server map; gRPC carries the names alone."""

    def __init__(self, grpc_url: str, *, image_size_px: int = 112, max_frames: int = MAX_FRAMES) -> None:
        import tritonclient.grpc as triton_grpc
        import tritonclient.utils.shared_memory as shm

        self._shm, self._triton = shm, triton_grpc
        self._client = triton_grpc.InferenceServerClient(grpc_url)
        self._in_bytes = max_frames * image_size_px * image_size_px * 3
        self._out_bytes = {"CLIP_PROBABILITY": 4, "FRAME_PROBABILITIES": 4 * max_frames, "FRAME_LOGITS": 8 * max_frames}
        self._regions: dict[str, Any] = {}
        tag = f"unmask_bench_{os.getpid()}_{id(self):x}"
        self._names = {"in": f"{tag}_in", "out": f"{tag}_out"}
        for side, size in (("in", self._in_bytes), ("out", sum(self._out_bytes.values()))):
            self._regions[side] = shm.create_shared_memory_region(self._names[side], f"/{self._names[side]}", size)
            self._client.register_system_shared_memory(self._names[side], f"/{self._names[side]}", size)

    def send(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``RequestPath``. Copying the frames into the segment is part of the request, as it would be in use."""
        self.encode(frames)
        request = self._triton.InferInput("FRAMES", frames.shape, "UINT8")
        request.set_shared_memory(self._names["in"], frames.nbytes)
        count = len(frames)
        outputs, offset, places = [], 0, {}
        for name, space in self._out_bytes.items():
            size = {"CLIP_PROBABILITY": 4, "FRAME_PROBABILITIES": 4 * count, "FRAME_LOGITS": 8 * count}[name]
            output = self._triton.InferRequestedOutput(name)
            output.set_shared_memory(self._names["out"], size, offset)
            places[name] = offset
            outputs.append(output)
            offset += space
        self._client.infer(DETECTOR, [request], outputs=outputs, client_timeout=DEADLINE_S)
        logits: NDArray[np.float32] = self._shm.get_contents_as_numpy(
            self._regions["out"], np.float32, (count, 2), places["FRAME_LOGITS"]
        ).copy()
        return logits

    def encode(self, frames: NDArray[np.uint8]) -> None:
        """See ``RequestPath``."""
        self._shm.set_shared_memory_region(self._regions["in"], [frames])

    def close(self) -> None:
        """See ``RequestPath``."""
        for side, region in self._regions.items():
            try:
                self._client.unregister_system_shared_memory(self._names[side])
            finally:
                self._shm.destroy_shared_memory_region(region)
        self._regions.clear()
        self._client.close()


def open_path(name: PathName, target: Target) -> RequestPath:
    """Connects.

    Raises:
        UsageError: The target has no such endpoint.
    """
    if name == "http":
        if not target.http_url:
            raise UsageError("the path http needs the server's HTTP address; give --http-url, or leave http out of --paths")
        return ClientPath(target.http_url)
    if not target.grpc_url:
        raise UsageError(f"the path {name} needs the server's gRPC address; give --url HOST:PORT")
    if name == "shm":
        return SharedMemoryPath(target.grpc_url)
    return ClientPath(f"grpc://{target.grpc_url}")
