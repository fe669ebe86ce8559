"""Messages between this process and the one that decodes: JSON, then the arrays' bytes. No pickles, so a decoder that a
hostile file has taken over can answer wrongly, but cannot run anything here."""

import json
import socket
import struct
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.clip import Clip, Dropped, Extraction, SourceFacts
from preprocess.errors import PreprocessError, WorkerError, error_class

_HEAD = struct.Struct("!IQ")
MAX_JSON_BYTES = 64 << 20
MAX_ARRAY_BYTES = 4 << 30


def send(channel: socket.socket, message: dict[str, Any], blob: bytes = b"", *, descriptor: int | None = None) -> None:
    """Sends one message, with an open file where ``descriptor`` is given."""
    text = json.dumps(message).encode()
    head = _HEAD.pack(len(text), len(blob))
    if descriptor is not None:
        socket.send_fds(channel, [head], [descriptor])
    else:
        channel.sendall(head)
    channel.sendall(text)
    if blob:
        channel.sendall(blob)


def receive(channel: socket.socket) -> tuple[dict[str, Any], bytearray, int | None]:
    """The next message, its arrays' bytes and the descriptor that came with it.

    Raises:
        EOFError: The other side is gone.
        WorkerError: What it sent is no message, or is too large.
    """
    head, descriptors, _, _ = socket.recv_fds(channel, _HEAD.size, 1)
    head += bytes(_exactly(channel, _HEAD.size - len(head))) if head else b""
    if len(head) < _HEAD.size:
        raise EOFError("the other side closed the connection")
    text_bytes, blob_bytes = _HEAD.unpack(head)
    if text_bytes > MAX_JSON_BYTES or blob_bytes > MAX_ARRAY_BYTES:
        raise WorkerError(f"the decoding process announced {text_bytes} + {blob_bytes} bytes; it is out of step")
    text, blob = _exactly(channel, text_bytes), _exactly(channel, blob_bytes)
    try:
        message = json.loads(bytes(text))
    except ValueError as error:
        raise WorkerError(f"the decoding process sent what is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise WorkerError(f"the decoding process sent a {type(message).__name__} instead of an object")
    return message, blob, descriptors[0] if descriptors else None


def _exactly(channel: socket.socket, count: int) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        received = channel.recv_into(view)
        if received == 0:
            raise EOFError("the other side closed the connection in a message")
        view = view[received:]
    return buffer


def pack_extraction(extraction: Extraction) -> tuple[dict[str, Any], bytes]:
    """Message and arrays of a result."""
    blobs: list[bytes] = []

    def place(array: NDArray[Any]) -> dict[str, Any]:
        data = np.ascontiguousarray(array)
        at = sum(map(len, blobs))
        blobs.append(data.tobytes())
        return {"dtype": data.dtype.str, "shape": list(data.shape), "at": at}

    message = {
        "source": asdict(extraction.source),
        "clips": [
            {
                "track_id": clip.track_id,
                "frames": place(clip.frames),
                "timestamps_s": place(clip.timestamps_s),
                "frame_indices": place(clip.frame_indices),
                "boxes_px": place(clip.boxes_px),
                "detector_scores": place(clip.detector_scores),
                "quality": {name: place(values) for name, values in clip.quality.items()},
            }
            for clip in extraction.clips
        ],
        "sampled_frame_indices": place(extraction.sampled_frame_indices),
        "sampled_timestamps_s": place(extraction.sampled_timestamps_s),
        "dropped": [asdict(drop) for drop in extraction.dropped],
        "notes": list(extraction.notes),
        "stage_s": extraction.stage_s,
        "pictures": {str(index): place(np.frombuffer(jpeg, np.uint8)) for index, jpeg in extraction.pictures.items()},
    }
    return {"extraction": message}, b"".join(blobs)


def unpack_extraction(message: dict[str, Any], blob: bytearray) -> Extraction:
    """The result of a message.

    Raises:
        WorkerError: A field is missing or an array is not what its place says.
        PreprocessError: The message is an error; it is raised as itself.
    """
    failure = message.get("error")
    if isinstance(failure, dict):
        raise error_class(str(failure.get("code")))(str(failure.get("message")))

    def take(place: dict[str, Any], dtype: type[np.generic]) -> NDArray[Any]:
        shape = tuple(int(length) for length in place["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        if min(shape, default=0) < 0 or np.dtype(place["dtype"]) != np.dtype(dtype):
            raise ValueError(f"{place} is not {np.dtype(dtype)}")
        return np.frombuffer(blob, np.dtype(dtype), count, int(place["at"])).reshape(shape)

    try:
        body = message["extraction"]
        clips = tuple(
            Clip(
                track_id=int(clip["track_id"]),
                frames=take(clip["frames"], np.uint8),
                timestamps_s=take(clip["timestamps_s"], np.float64),
                frame_indices=take(clip["frame_indices"], np.int64),
                boxes_px=take(clip["boxes_px"], np.float32),
                detector_scores=take(clip["detector_scores"], np.float32),
                quality={str(name): take(place, np.float32) for name, place in clip["quality"].items()},
            )
            for clip in body["clips"]
        )
        return Extraction(
            source=SourceFacts(**body["source"]),
            clips=clips,
            sampled_frame_indices=take(body["sampled_frame_indices"], np.int64),
            sampled_timestamps_s=take(body["sampled_timestamps_s"], np.float64),
            dropped=tuple(Dropped(**drop) for drop in body["dropped"]),
            notes=tuple(map(str, body["notes"])),
            stage_s={str(name): float(value) for name, value in body["stage_s"].items()},
            pictures={int(index): take(place, np.uint8).tobytes() for index, place in body["pictures"].items()},
        )
    except PreprocessError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerError(f"the decoding process sent a result that cannot be read: {error!r}") from error
