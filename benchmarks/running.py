"""What every benchmark command does around its measurement: progress, interrupts, and a result that is always written."""

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.errors import BenchmarkError, OutputError, ServerDied
from benchmarks.record import Record

logger = logging.getLogger("unmask.bench")


@contextmanager
def keeping(record: Record, path: Path) -> Iterator[None]:
    """Saves the record when the block ends, however it ends.

    An interrupt, and a server that dies, end the block and not the program: the record says so in ``state`` and ``reason``.

    Raises:
        OutputError: The file cannot be written.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        record.state, record.reason = "interrupted", f"interrupted ({interrupt.args[0] if interrupt.args else 'SIGINT'})"
    except ServerDied as error:
        record.state, record.reason = "partial", str(error)
    except BaseException as error:
        record.state, record.reason = "partial", f"{type(error).__name__}: {error}"
        if record.series:
            _save(record, path)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    _save(record, path)


def _save(record: Record, path: Path) -> None:
    try:
        record.save(path)
    except OSError as error:
        raise OutputError(
            f"the result could not be written to {path} ({error.strerror or error}); make room and measure again"
        ) from error


def ticker(what: str) -> Callable[[], None] | None:
    """A counter on stderr, on a terminal alone."""
    if not sys.stderr.isatty():
        return None
    state = {"count": 0, "shown": 0.0}

    def tick() -> None:
        state["count"] += 1
        if time.monotonic() - state["shown"] > 0.2:
            state["shown"] = time.monotonic()
            sys.stderr.write(f"\r{what}: {int(state['count'])} measured ")
            sys.stderr.flush()

    return tick


__all__ = ["BenchmarkError", "keeping", "ticker"]
