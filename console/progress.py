"""Notes how far an analysis is, beside the work: a note is a transaction with a disk behind it, and nobody should wait for that."""

import logging
import threading
import time

from console.jobs import Job, JobQueue

logger = logging.getLogger(__name__)
_EVERY_S = 0.4


class Notes:
    """One thread; of several notes that wait, the last one counts. A note that is late changes nothing: its job has ended."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._changed = threading.Condition()
        self._next: tuple[Job, str, int, int] | None = None
        self._last = ("", "", 0.0)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="unmask-notes", daemon=True)
        self._thread.start()

    def note(self, job: Job, stage: str, done: int = 0, planned: int = 0) -> None:
        """Remembers it; within a stage only every ``_EVERY_S``."""
        now = time.monotonic()
        if (job.id, stage) == self._last[:2] and now - self._last[2] < _EVERY_S:
            return
        self._last = (job.id, stage, now)
        with self._changed:
            self._next = (job, stage, done, planned)
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread; what is not written yet is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._next is None and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                assert self._next is not None
                job, stage, done, planned = self._next
                self._next = None
            try:
                self._queue.progress(job, stage, done, planned)
            except Exception:  # the database may be away for a moment, and progress is a courtesy
                logger.exception("progress of %s was not noted", job.id)
