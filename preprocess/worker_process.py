"""The parent's handle of one child process: started when first needed, reused, replaced after a crash."""

import collections
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, BinaryIO

from preprocess import wire
from preprocess.clip import Extraction
from preprocess.errors import DecoderCrashedError, TimeLimitError, WorkerError
from preprocess.options import ExtractionOptions
from preprocess.settings import PreprocessSettings

logger = logging.getLogger(__name__)

START_LIMIT_S = 60.0
GRACE_S = 2.0
"""The child sees its deadline first and says so; only when it does not, it is killed."""


class WorkerProcess:
    """One child. Belongs to one thread at a time."""

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._said: collections.deque[str] = collections.deque(maxlen=20)
        self._reader: threading.Thread | None = None
        self._files = 0
        self.sandbox = 0
        """Landlock version that binds the child; 0: none."""

    @property
    def pid(self) -> int | None:
        """Process id, or None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts the child and waits until its detectors are loaded; does nothing when it runs.

        Raises:
            FaceModelMissingError, WorkerError
        """
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "preprocess.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": path, "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2"},
                )
        except OSError as error:
            ours.close()
            raise WorkerError(f"{sys.executable} could not be started to decode in a process of its own: {error}") from error
        self._channel = ours
        self._files = 0
        self._said.clear()
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        try:
            ours.settimeout(START_LIMIT_S)
            wire.send(ours, {"settings": self._settings.model_dump()})
            answer, blob, _ = wire.receive(ours)
            if "ready" not in answer:
                wire.unpack_extraction(answer, blob)
            self.sandbox = int(answer.get("sandbox", 0))
        except (OSError, EOFError) as error:
            said = self._end()
            raise WorkerError(f"the decoding process did not start within {START_LIMIT_S:g} s ({error}): {said}") from error
        except BaseException:
            self._end()
            raise

    def run(
        self, stream: BinaryIO, name: str, options: ExtractionOptions, progress: Callable[[int, int], None] | None = None
    ) -> Extraction:
        """Has the child work on an open file.

        Raises:
            PreprocessError: What the child said, or that it crashed or did not answer in time; it is replaced then.
        """
        began = time.perf_counter()
        self.start()
        started = time.perf_counter()
        assert self._channel is not None
        try:
            self._channel.settimeout(self._settings.max_wall_s + GRACE_S)
            request = {"name": name, "options": asdict(options), "progress": progress is not None}
            wire.send(self._channel, request, descriptor=stream.fileno())
            while True:
                answer, blob, _ = wire.receive(self._channel)
                if progress is None or "progress" not in answer:
                    break
                # One deadline for the file, however often the child says that it is still there.
                left_s = self._settings.max_wall_s + GRACE_S - (time.perf_counter() - started)
                if left_s <= 0:
                    raise TimeoutError
                self._channel.settimeout(left_s)
                done, planned = answer["progress"]
                progress(int(done), int(planned))
        except TimeoutError as error:
            self._end()
            raise TimeLimitError(
                f"{name} took longer than {self._settings.max_wall_s:g} s and did not stop, so its process was ended; raise "
                "UNMASK_PREPROCESS_MAX_WALL_S or look at a shorter span"
            ) from error
        except (OSError, EOFError) as error:
            said = self._end()
            raise DecoderCrashedError(
                f"the decoding process ended while it read {name} ({said}); the file is damaged or hostile"
            ) from error
        except BaseException:
            # Out of step (a Ctrl+C, a message that cannot be read): what comes next would be this file's answer.
            self._end()
            raise
        self._files += 1
        try:
            extraction = wire.unpack_extraction(answer, blob)
        except (DecoderCrashedError, WorkerError):
            self._end()
            raise
        finally:
            # A file that ends in an error wears the process out as well.
            if self._files >= self._settings.files_per_worker:
                self.close()
        self._account(extraction.stage_s, started - began, time.perf_counter() - began)
        return extraction

    @staticmethod
    def _account(stage_s: dict[str, float], start_s: float, total_s: float) -> None:
        """Adds what the child could not see: its own start, and handing things over."""
        inside_s = stage_s.get("total", 0.0)
        if start_s > 1e-3:
            stage_s["start"] = start_s
        stage_s["hand_over"] = max(0.0, total_s - start_s - inside_s)
        stage_s["total"] = total_s

    def close(self) -> None:
        """Lets the child end by itself; kills it if it does not."""
        if self._process is None:
            return
        if self._channel is not None:
            self._channel.close()
        try:
            self._process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            logger.debug("decoding process %d did not end by itself", self._process.pid)
        self._end()

    def _end(self) -> str:
        """Kills what is left of the child and forgets it; returns how it ended."""
        process, self._process = self._process, None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if process is None:
            return ""
        # A crashed child is already dead and tells by which signal; give it the moment that takes.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        process.kill()
        code = process.wait()
        if self._reader is not None:
            self._reader.join(timeout=GRACE_S)
        if process.stderr is not None:
            process.stderr.close()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = self._said[-1] if self._said else ""
        return f"{how}: {last}" if last else how

    def _listen(self, stderr: IO[bytes]) -> None:
        """Keeps the child's pipe from filling up; libraries write there."""
        with contextlib.suppress(ValueError, OSError):
            for line in stderr:
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._said.append(text[-500:])
                    logger.debug("decoding process: %s", text)
