"""The package's front: paths in, extractions out, by way of child processes that live on from file to file."""

import collections
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol

from preprocess.clip import Extraction
from preprocess.errors import OptionError, PreprocessError
from preprocess.media import open_media
from preprocess.options import ExtractionOptions
from preprocess.settings import PreprocessSettings

if TYPE_CHECKING:
    from preprocess.faces import FaceFinder
    from preprocess.pipeline import Progress


class _Worker(Protocol):
    def run(
        self, stream: BinaryIO, name: str, options: ExtractionOptions, progress: "Progress | None" = None
    ) -> Extraction: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


class Preprocessor:
    """Keeps processes with loaded face detectors from file to file. Thread-safe; close it, or use it as a context manager.

    Args:
        workers: Files that may be read at a time, each by a process of its own. A worker uses
            ``settings.decoder_threads`` threads for decoding; by default the processors are shared out among the workers.

    Raises:
        OptionError: ``workers`` is below 1.
    """

    def __init__(self, settings: PreprocessSettings | None = None, *, workers: int = 1) -> None:
        if workers < 1:
            raise OptionError(f"workers is {workers}; it must be at least 1")
        settings = settings or PreprocessSettings()
        if settings.decoder_threads == 0:
            threads = max(1, min(8, len(os.sched_getaffinity(0)) // workers))
            settings = settings.model_copy(update={"decoder_threads": threads})
        self.settings = settings
        self.workers = workers
        self._closed = False
        self._all = [_make_worker(settings) for _ in range(workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)

    def __enter__(self) -> "Preprocessor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Starts one worker now instead of with the first file, and so finds out what is missing.

        Raises:
            FaceModelMissingError: Set-up has not been run.
            WorkerError: The process could not be started.
        """
        worker = self._idle.get()
        try:
            worker.start()
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Waits for files in work, ends the processes and frees the detectors."""
        if self._closed:
            return
        self._closed = True
        for _ in self._all:
            self._idle.get().close()

    def extract(
        self, path: str | os.PathLike[str], options: ExtractionOptions, *, progress: "Progress | None" = None
    ) -> Extraction:
        """Faces of one video or image file. Waits while all workers are busy.

        Args:
            path: A local file.
            options: What is wanted of it.
            progress: Called in this thread with the sampled frames of a video that are done and their number in all.

        Raises:
            PreprocessError: See ``preprocess.errors``; ``code`` says which.
        """
        if self._closed:
            raise OptionError("this Preprocessor is closed; make another one")
        with open_media(path, self.settings) as stream:
            worker = self._idle.get()
            try:
                return worker.run(stream, os.fspath(path), options, progress)
            finally:
                self._idle.put(worker)

    def extract_all(
        self, paths: Iterable[str | os.PathLike[str]], options: ExtractionOptions
    ) -> Iterator[tuple[Path, Extraction | PreprocessError]]:
        """Faces of several files, ``workers`` at a time, in the order given. A file's error takes its result's place.

        At most two files a worker are ahead of the caller, so memory does not grow with their number.
        """
        pending: collections.deque[tuple[Path, Future[Extraction]]] = collections.deque()
        remaining = iter(paths)
        stop = threading.Event()

        def work(path: Path) -> Extraction:
            if stop.is_set():
                raise OptionError("stopped")
            return self.extract(path, options)

        with ThreadPoolExecutor(self.workers, thread_name_prefix="unmask-preprocess") as pool:
            try:
                while True:
                    while len(pending) < 2 * self.workers and (path := next(remaining, None)) is not None:
                        pending.append((Path(path), pool.submit(work, Path(path))))
                    if not pending:
                        return
                    done, future = pending.popleft()
                    try:
                        result: Extraction | PreprocessError = future.result()
                    except PreprocessError as error:
                        result = error
                    yield done, result
            finally:
                stop.set()


def _make_worker(settings: PreprocessSettings) -> _Worker:
    if settings.isolation == "process":
        from preprocess.worker_process import WorkerProcess

        return WorkerProcess(settings)
    return _InProcess(settings)


class _InProcess:
    """Reads files in this process: faster to start, and a decoder's crash is this process's crash."""

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._finder: FaceFinder | None = None

    def start(self) -> None:
        if self._finder is None:
            from preprocess.faces import FaceFinder

            self._finder = FaceFinder(
                min_confidence=self._settings.min_confidence, max_faces=self._settings.max_faces_per_frame
            )

    def run(self, stream: BinaryIO, name: str, options: ExtractionOptions, progress: "Progress | None" = None) -> Extraction:
        from preprocess import pipeline

        self.start()
        assert self._finder is not None
        settings, finder = self._settings, self._finder
        return pipeline.run(stream, name=name, options=options, settings=settings, finder=finder, progress=progress)

    def close(self) -> None:
        if self._finder is not None:
            self._finder.close()
            self._finder = None


def extract(
    path: str | os.PathLike[str], options: ExtractionOptions, *, settings: PreprocessSettings | None = None
) -> Extraction:
    """Faces of one file. For several files keep a ``Preprocessor``: starting one takes about a second.

    Raises:
        PreprocessError: See ``preprocess.errors``; ``code`` says which.
    """
    with Preprocessor(settings) as preprocessor:
        return preprocessor.extract(path, options)
