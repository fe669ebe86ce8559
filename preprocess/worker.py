"""The child process: takes open files over a socket, answers with results. ``python -m preprocess.worker FD``.

It is given descriptors, never paths; it may write no file (RLIMIT_FSIZE), use so much address space and processor time,
and, where the kernel offers Landlock, open no file at all.
"""

import importlib
import logging
import math
import os
import pkgutil
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from preprocess import face_models, wire
from preprocess.errors import DecoderCrashedError, MemoryLimitError, PreprocessError
from preprocess.options import ExtractionOptions
from preprocess.sandbox import shut_off
from preprocess.settings import PreprocessSettings

logger = logging.getLogger(__name__)


def serve(channel: socket.socket) -> None:
    """Answers requests until the other side hangs up."""
    greeting, _, _ = wire.receive(channel)
    settings = PreprocessSettings(**greeting["settings"])
    _limit(settings)
    try:
        _import_all()
        _detector(settings).close()
        # All that opens files is behind us. The detector in use is made after it, so that its threads are bound, too.
        sandbox = shut_off()
        finder = _detector(settings)
    except PreprocessError as error:
        wire.send(channel, _failure(error))
        return
    with finder:
        wire.send(channel, {"ready": os.getpid(), "sandbox": sandbox})
        while True:
            try:
                request, _, descriptor = wire.receive(channel)
            except EOFError:
                return
            if descriptor is None:
                return
            _limit_processor_time(settings)
            progress = partial(_tell, channel) if request.get("progress") else None
            message, blob = _answer(request, descriptor, settings, finder, progress)
            wire.send(channel, message, blob)


def _tell(channel: socket.socket, done: int, planned: int) -> None:
    wire.send(channel, {"progress": [done, planned]})


def _answer(
    request: dict[str, Any],
    descriptor: int,
    settings: PreprocessSettings,
    finder: Any,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Any], bytes]:
    from preprocess import pipeline

    try:
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            options = ExtractionOptions(**request["options"])
            name = request["name"]
            result = pipeline.run(stream, name=name, options=options, settings=settings, finder=finder, progress=progress)
        return wire.pack_extraction(result)
    except PreprocessError as error:
        return _failure(error), b""
    except MemoryError:
        return (
            _failure(
                MemoryLimitError(
                    f"{request['name']} needs more memory than {resource.getrlimit(resource.RLIMIT_AS)[0]} bytes; raise "
                    "UNMASK_PREPROCESS_MAX_MEMORY_BYTES"
                )
            ),
            b"",
        )
    except Exception as error:  # libraries raise anything on damaged input; the parent replaces this process
        logger.exception("reading %s failed", request["name"])
        return (
            _failure(
                DecoderCrashedError(
                    f"the decoding process failed while it read {request['name']} ({error!r}); the file is damaged or hostile"
                )
            ),
            b"",
        )


def _failure(error: PreprocessError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": str(error)}}


def _import_all() -> None:
    import av
    from PIL import Image, ImageOps  # noqa: F401

    from preprocess import pipeline  # noqa: F401

    # PyAV imports parts of itself when a file first needs them; then it is too late.
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    av.logging.set_level(av.logging.PANIC)
    Image.init()
    # Pillow's own limit on pixels would stand in the way of a higher `max_frame_pixels`, which is checked in any case.
    Image.MAX_IMAGE_PIXELS = None
    face_models.weights()


def _detector(settings: PreprocessSettings) -> Any:
    from preprocess.faces import FaceFinder

    finder = FaceFinder(min_confidence=settings.min_confidence, max_faces=settings.max_faces_per_frame)
    finder.find(np.zeros((512, 512, 3), np.uint8), look_round=True)
    return finder


def _limit(settings: PreprocessSettings) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, settings.max_memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        allowed = _within(limit, value)
        resource.setrlimit(limit, (allowed, allowed))


def _within(limit: int, value: int) -> int:
    """The value, or less where whoever started this process allows it no more (`ulimit -H`)."""
    _, most = resource.getrlimit(limit)
    return value if most == resource.RLIM_INFINITY else min(value, most)


def _limit_processor_time(settings: PreprocessSettings) -> None:
    """Should the parent die and the decoder hang, the kernel ends it: wall limit on all processors, from now."""
    used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    cores = len(os.sched_getaffinity(0))
    limit_s = _within(resource.RLIMIT_CPU, math.ceil(used_s + settings.max_wall_s * cores) + 5)
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> int:
    """Serves the socket whose descriptor is the first argument."""
    # The parent decides about Ctrl+C; it ends this process by closing the socket, or kills it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        try:
            serve(channel)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
