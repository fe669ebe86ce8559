"""A worker process: ``python -m console.worker``. Takes analyses from the queue, one at a time, until its standard input closes.

Settings come from the environment. Its parent holds the other end of the pipe: when the parent ends, however it ends, the
worker finishes what it has and ends, too.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from client import Detector
from client.errors import (
    ClientError,
    ConnectionLost,
    DeadlineExceeded,
    DetectorNotFound,
    Overloaded,
    ServerError,
    ServerFailed,
    Unreachable,
)
from console import analysis
from console.bell import Bells
from console.database import Database
from console.jobs import Job, JobQueue, Outcome
from console.progress import Notes
from console.settings import ConsoleSettings
from console.store import Store
from console.webhooks import Courier
from preprocess import PreprocessError, Preprocessor
from preprocess.errors import WorkerError

logger = logging.getLogger("unmask.console.worker")
_AWAY = (Unreachable, ConnectionLost, Overloaded, DetectorNotFound, DeadlineExceeded, ServerFailed)
"""The server may be starting again, a detector that is being loaded is not found, and a busy machine may have cost the server a
worker: worth waiting for."""
_RETRY_S = (0.5, 1.0, 2.0, 5.0)
_LOADING_S = 30.0
_RECOVERY_S = 120.0
_HOUSEKEEPING_S = 1.0
_PURGE_S = 30.0


class UploadMissing(Exception):
    """The file of an analysis is not in this worker's folder."""

    code = "upload_missing"

    def __init__(self, filename: str) -> None:
        super().__init__(
            f"{filename} is not in its worker's folder of uploads; consoles and workers that share a database must share "
            "UNMASK_CONSOLE_DATA_DIR, too: upload it again when they do"
        )


class Worker:
    """Everything that one worker needs, kept from file to file."""

    def __init__(self, settings: ConsoleSettings, worker_id: str) -> None:
        self.id = worker_id
        self._settings = settings
        self._database = Database(settings.database)
        self._database.create()
        bells = Bells(settings.bells_dir)
        self._bell = bells.hang("worker")
        self._queue = JobQueue(
            self._database,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
            result_ttl_s=settings.result_ttl_s,
            bells=bells,
        )
        self._store = Store(
            self._database,
            uploads_dir=settings.uploads_dir,
            results_dir=settings.results_dir,
            max_queued=settings.max_queued,
        )
        self._notes = Notes(self._queue)
        self._courier = Courier(self._database, settings)
        self._preprocessor = Preprocessor()
        self._detectors: dict[str, Detector] = {}
        self._stop = threading.Event()
        self._drained = threading.Event()
        self._current: Job | None = None

    def run(self) -> None:
        """Works until ``stop``."""
        threads = [threading.Thread(target=target, daemon=True) for target in (self._keep_leases, self._keep_house)]
        for thread in threads:
            thread.start()
        try:
            # Loaded before the first file comes: nobody should wait for that.
            self._preprocessor.start()
            logger.info("worker %s is ready", self.id)
            while not self._stop.is_set():
                job = self._queue.claim(self.id)
                if job is None:
                    # A ring that came since the look is still there.
                    self._bell.wait(self._settings.poll_s)
                    continue
                self._current = job
                try:
                    self._work(job)
                finally:
                    self._current = None
        finally:
            self._drained.set()
            self._stop.set()
            for thread in threads:
                thread.join(timeout=self._settings.webhook_timeout_s)
            self._preprocessor.close()
            for detector in self._detectors.values():
                detector.close()
            with _survived("release"):
                self._queue.release(self.id)
            self._notes.close()
            self._bell.close()
            self._database.close()

    def stop(self) -> None:
        """Ends ``run`` after the analysis at hand; what takes longer than ``drain_s`` is given back to the queue."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._bell.ring()
        threading.Thread(target=self._give_up_late, daemon=True).start()

    def _give_up_late(self) -> None:
        if not self._drained.wait(self._settings.drain_s):
            if (job := self._current) is not None:
                self._queue.give_back(job)
            logger.warning("the analysis at hand took longer than %g s and was given back", self._settings.drain_s)
            os._exit(1)

    def _work(self, job: Job) -> None:
        path = self._store.upload_path(job.id)
        token = f"{job.attempt}-{job.token}"
        folder = self._settings.results_dir / job.id / token
        try:
            if not path.exists():
                raise UploadMissing(job.filename)
            verdict = analysis.analyze(
                path,
                job,
                detector=self._detector(job.detector),
                preprocessor=self._preprocessor,
                picture_px=self._settings.picture_px,
                folder=folder,
                progress=partial(self._notes.note, job),
            )
            outcome = Outcome(
                label=verdict.label,
                reason=verdict.reason,
                score=verdict.score,
                verdict=json.dumps(verdict.to_dict()),
                artefacts=token,
            )
        except _AWAY as error:
            self._remove_if_empty(folder.parent)
            if self._postpone(job, error):
                return
            outcome = Outcome(error_code=error.code, error_message=str(error))
        except UploadMissing as error:
            logger.error("%s: %s (it looked in %s)", job.id, error, path.parent)
            outcome = Outcome(error_code=error.code, error_message=str(error))
        except WorkerError as error:
            logger.warning("%s: %s", job.id, error)
            outcome = Outcome(error_code=error.code, error_message=_clean(error, path, job))
        except (ClientError, PreprocessError) as error:
            logger.info("%s: %s", job.id, error)
            outcome = Outcome(error_code=error.code, error_message=_clean(error, path, job))
        except OSError as error:
            logger.exception("%s", job.id)
            outcome = Outcome(
                error_code="storage_failed", error_message=f"the result could not be written: {error.strerror or error}"
            )
        except Exception as error:  # one analysis must not end the worker, and nobody else would tell its sender
            logger.exception("%s", job.id)
            outcome = Outcome(error_code="internal", error_message=f"{type(error).__name__}; the worker's log says more")
        if self._queue.finish(job, outcome) is None:
            # Deleted meanwhile, or the lease ran out and the result is another worker's to give.
            logger.info("%s: the lease was lost, its result is dropped", job.id)
            shutil.rmtree(folder, ignore_errors=True)
            self._remove_if_empty(folder.parent)
            return
        path.unlink(missing_ok=True)
        self._remove_other_attempts(folder)
        if outcome.error_code:
            self._remove_if_empty(folder.parent)

    @staticmethod
    def _remove_if_empty(folder: Path) -> None:
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _remove_other_attempts(self, folder: Path) -> None:
        if folder.parent.is_dir():
            for other in folder.parent.iterdir():
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)

    def _postpone(self, job: Job, error: ServerError) -> bool:
        """Whether the analysis waits for the server; else its time for that is up."""
        waited_s = time.time() - job.waiting_since if job.waiting_since is not None else 0.0
        longest_s = self._settings.server_wait_s
        if isinstance(error, DetectorNotFound):
            # Either it is just being loaded, or the name is wrong for good.
            longest_s = min(longest_s, _LOADING_S)
        elif isinstance(error, ServerFailed):
            # Either it is being started anew, which takes its time on a busy machine, or the model is broken.
            longest_s = min(longest_s, _RECOVERY_S)
        if waited_s >= longest_s:
            return False
        delay_s = next((step for step in _RETRY_S if step > waited_s), _RETRY_S[-1])
        level = logging.INFO if job.waiting_since is not None else logging.WARNING
        logger.log(level, "%s: %s; tried again in %g s", job.id, error, delay_s)
        self._queue.postpone(job, delay_s=delay_s)
        return True

    def _detector(self, name: str) -> Detector:
        if name not in self._detectors:
            self._detectors[name] = Detector(self._settings.triton_url, detector=name)
        return self._detectors[name]

    def _keep_leases(self) -> None:
        while not self._drained.wait(self._settings.lease_s / 4):
            with _survived("heartbeat"):
                self._queue.heartbeat(self.id, self._current)

    def _keep_house(self) -> None:
        with _survived("first heartbeat"):
            self._queue.heartbeat(self.id, None)
        purged_at = -_PURGE_S
        sent = 0
        while not self._stop.wait(_HOUSEKEEPING_S if sent == 0 else 0.0):
            sent = 0
            with _survived("webhooks"):
                sent = self._courier.deliver_due()
            if time.monotonic() - purged_at >= _PURGE_S:
                purged_at = time.monotonic()
                with _survived("purging"):
                    self._store.purge(idempotency_ttl_s=self._settings.idempotency_ttl_s)


@contextlib.contextmanager
def _survived(what: str) -> Iterator[None]:
    """The thread goes on when the database is away for a moment."""
    try:
        yield
    except Exception:
        logger.exception("%s failed; tried again soon", what)


def _clean(error: Exception, path: Path, job: Job) -> str:
    """The message with the name that the sender knows, not a path of ours."""
    return str(error).replace(str(path), job.filename)


def new_worker_id() -> str:
    """Unique, and readable in a log."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"


def main() -> int:
    """Entry point. The only argument, if any, is the worker's id."""
    logging.basicConfig(
        level=os.environ.get("UNMASK_LOG_LEVEL", "WARNING"), format="%(levelname)s %(name)s[%(process)d]: %(message)s"
    )
    settings = ConsoleSettings()
    settings.make_dirs()
    worker = Worker(settings, sys.argv[1] if len(sys.argv) > 1 else new_worker_id())

    def wait_for_parent() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                continue
        worker.stop()

    threading.Thread(target=wait_for_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    # Ctrl+C on the terminal is for the parent alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
