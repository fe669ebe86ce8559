"""Forwards Triton's log to ``logging`` (logger ``unmask.triton``) and keeps its last lines for error messages."""

import logging
import re
import threading
from collections import deque
from typing import IO

logger = logging.getLogger("unmask.triton")

_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
# Triton's default format: level letter, month and day, time, process id, source position, message.
_LINE = re.compile(r"^([IWEF])\d{4} \d{2}:\d{2}:\d{2}\.\d+ \d+ [\w.]+:\d+\] ?(.*)$")
# What this project's own guard and workers say between Triton's lines.
_OWN = "unmask: "
# What Triton says at error level on every machine without a GPU.
_HARMLESS = (
    "CudaDriverHelper has not been initialized",
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "unable to create stream for",
)
# What Triton puts around a model's error; it says each three times: the worker's, the model's and the ensemble's.
_AROUND = (
    re.compile(r"^(?:ERROR: )?Failed to create instance: "),
    re.compile(r"^failed to load '[^']+' version \d+: [A-Z][\w ]*?: "),
    re.compile(
        r"^Invalid argument: ensemble '[^']+' depends on .*? loading failed with error: version \d+ is at \w+ state: \w+: "
    ),
    re.compile(r"^BackendConfigError: "),
)
KEPT_LINES = 400


class LogRelay(threading.Thread):
    """Reads the server's output to its end."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(name="triton-log", daemon=True)
        self._stream = stream
        self._lines: deque[tuple[int, str]] = deque(maxlen=KEPT_LINES)
        self._held: list[tuple[int, str]] | None = []
        self._lock = threading.Lock()

    def run(self) -> None:
        """Forwards line by line; a line without Triton's head belongs to the one before it."""
        level = logging.INFO
        for line in self._stream:
            text = line.rstrip()
            if not text:
                continue
            if match := _LINE.match(text):
                level, text = _LEVELS[match.group(1)], match.group(2).strip('"')
            elif text.startswith(_OWN):
                level, text = logging.WARNING, text.removeprefix(_OWN)
            if text.startswith(_HARMLESS):
                level = logging.DEBUG
            self._lines.append((level, text))
            self._forward(level, text)

    def _forward(self, level: int, text: str) -> None:
        with self._lock:
            if self._held is not None and level >= logging.ERROR:
                self._held.append((level, text))
                level = logging.INFO
        logger.log(level, "%s", text)

    def release(self) -> None:
        """The server is up. Until then errors go no further than INFO: if it does not come up, the message has them."""
        with self._lock:
            held, self._held = self._held or [], None
        for level, text in held:
            logger.log(level, "%s", text)

    def errors(self) -> str:
        """The errors among the kept lines, each once, for a message; the last lines where there is none."""
        lines = list(self._lines)  # at once: the thread may go on adding to them
        found = [_cause(text) for level, text in lines if level >= logging.ERROR]
        return "\n  ".join(dict.fromkeys(found)) or "\n  ".join(text for _, text in lines[-5:])


def _cause(text: str) -> str:
    """An error without what Triton and the Python backend put around it; both write line ends as a backslash and an n."""
    for pattern in _AROUND:
        text = pattern.sub("", text)
    return " ".join(text.split(r"\n\nAt:\n")[0].replace(r"\n", " ").split()).rstrip(";")
