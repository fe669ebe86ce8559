"""Evaluates several files on one server, a file's error never stopping the others."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from client import Choice, Detector, TlsOptions, choose, list_detectors
from client.errors import ClientError, DetectorNotFound, InvalidRequest, ServerError
from client.report import Report
from client.results import Failure, Result
from preprocess import Extraction, PreprocessError, find_media

logger = logging.getLogger("unmask.detect")

SERVER_CODE = "server_not_started"
"""Code of the error that the files of a call get whose own server could not be started."""


class ServerUnavailableError(Exception):
    """No file can be evaluated: the server for this call did not start, or the one that was named does not answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Which server and which of its detectors."""

    url: str | None
    """None: one is started for this call."""
    profile: Literal["auto", "cpu", "gpu", "reference"]
    """Of the one that is started."""
    detector: str | None
    """None: the one that fits the number of frames best."""
    deadline_s: float | None
    tls: TlsOptions | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call."""

    results: list[Result]
    server_failed: bool
    """The server could not be used at all, or failed at some file."""


def expand(paths: Sequence[Path]) -> list[Path | Result]:
    """The media files of files and folders; a path that has none stands as its error."""
    found: list[Path | Result] = []
    for path in paths:
        try:
            found += find_media(path)
        except PreprocessError as error:
            found.append(_failed(path, error.code, str(error)))
        except OSError as error:
            found.append(_failed(path, "not_readable", f"{path} cannot be read: {error}"))
    return found


def run(
    items: Sequence[Path | Result],
    server: Server,
    *,
    frames: int | None,
    report: Report | None,
    progress: Callable[[Sequence[Path | Result]], Iterable[Path | Result]],
) -> Outcome:
    """Evaluates the paths among ``items``, in order; a server that cannot be used gives each of them its error.

    Raises:
        InvalidRequest: The address, an option or ``frames`` makes no sense with this server: true of every file.
    """
    results: list[Result] = []
    server_failed = False

    def take(result: Result, extraction: Extraction | None = None) -> None:
        results.append(result)
        if report is not None:
            report.add(result, extraction)

    try:
        # Nothing to evaluate, no server.
        opened = _reached(server, frames) if any(isinstance(item, Path) for item in items) else contextlib.nullcontext()
        with opened as detector:
            for item in progress(items):
                if isinstance(item, Result):
                    take(item)
                else:
                    assert detector is not None
                    result, extraction, failed = _evaluate(detector, item, frames)
                    server_failed = server_failed or failed
                    take(result, extraction)
    except ServerUnavailableError as error:
        server_failed = True
        click.echo(f"unmask detect: {error}", err=True)
        for item in items:
            take(item if isinstance(item, Result) else _failed(item, error.code, str(error)))
    return Outcome(results=results, server_failed=server_failed)


@contextlib.contextmanager
def _reached(server: Server, frames: int | None) -> Iterator[Detector]:
    with contextlib.ExitStack() as stack:
        url = server.url if server.url is not None else stack.enter_context(_started(server.profile))
        try:
            chosen = _chosen(server, url, frames)
            notes = [chosen.note] if chosen.note else []
            detector = stack.enter_context(
                Detector(url, detector=chosen.detector, deadline_s=server.deadline_s, tls=server.tls, notes=notes)
            )
            detector.model()
        except ServerError as error:
            raise ServerUnavailableError(error.code, str(error)) from error
        yield detector


def _chosen(server: Server, url: str, frames: int | None) -> Choice:
    if server.detector is not None:
        return Choice(detector=server.detector, note=None)
    if frames is None:
        with contextlib.suppress(DetectorNotFound), Detector(url, deadline_s=server.deadline_s, tls=server.tls) as default:
            return Choice(detector=default.model().info.detector, note=None)
    models = list_detectors(url, deadline_s=server.deadline_s, tls=server.tls)
    chosen = choose(models, frames)
    if len(models) > 1:
        click.echo(chosen.note or f"asking {chosen.detector}, one of {len(models)} detectors", err=True)
    return chosen


@contextlib.contextmanager
def _started(profile: Literal["auto", "cpu", "gpu", "reference"]) -> Iterator[str]:
    click.echo(f"no --url: starting a Triton server for this call (profile {profile})", err=True)
    try:
        from serving.errors import ServingError
        from serving.launcher import EmbeddedTriton
        from serving.settings import ServingSettings
    except ImportError as error:
        raise ServerUnavailableError(
            SERVER_CODE,
            f"no --url was given and no server can be started here ({error}); give --url, or install one with "
            "`pip install 'unmask[serve]'`",
        ) from error
    server = EmbeddedTriton(
        # Nobody else asks this server: at the end nothing is in flight.
        ServingSettings(profile=profile, grpc_port=0, http_port=0, metrics_port=0, drain_timeout_s=0)
    )
    try:
        server.start()
    except ServingError as error:
        raise ServerUnavailableError(SERVER_CODE, f"no --url was given and the server did not start: {error}") from error
    try:
        click.echo(f"serving profile {server.profile} on {server.grpc_url}", err=True)
        yield server.grpc_url
    finally:
        server.stop()


def _evaluate(detector: Detector, path: Path, frames: int | None) -> tuple[Result, Extraction | None, bool]:
    """One file's result, its crops where it has a verdict, and whether it was the server that failed."""
    try:
        analysis = detector.analyze(path, frames=frames)
    except InvalidRequest:
        raise
    except (ClientError, PreprocessError) as error:
        logger.info("%s: %s", path, error)
        return _failed(path, error.code, str(error)), None, isinstance(error, ServerError)
    except OSError as error:
        return _failed(path, "not_readable", f"{path} cannot be read: {error}"), None, False
    return Result(path=str(path), verdict=analysis.verdict), analysis.extraction, False


def _failed(path: Path, code: str, message: str) -> Result:
    return Result(path=str(path), failure=Failure(code=code, message=message))
