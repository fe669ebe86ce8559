"""``/v1/analyses``: uploads in, analyses out."""

import asyncio
import hashlib
import json
import math
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from console import documents, uploads, webhooks
from console.errors import ConsoleError, Invalid, NotFound, UnsupportedMedia
from console.identity import Caller, caller
from console.problems import MEDIA_TYPE, describe
from console.services import Services, services_of
from console.settings import ConsoleSettings
from console.store import Filter
from console.tables import AnalysisRow
from preprocess.errors import PreprocessError
from preprocess.media import Container, identify, open_media
from preprocess.options import Sampling
from preprocess.settings import PreprocessSettings

router = APIRouter(prefix="/v1/analyses", tags=["analyses"])
AnalysisId = Annotated[str, PathParameter(pattern="^[0-9a-f]{24}$", description="As the upload was answered with.")]
SAMPLINGS: tuple[str, ...] = ("uniform", "first", "interval", "window")
FRAMES = (1, 4096)
_KEEP_ALIVE_S = 15.0
_BATCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPTIONS = frozenset({"detector", "frames", "sampling", "start_s", "end_s", "batch", "webhook"})

_UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "description": "One video or image, or several: then the answer is a batch.",
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                    },
                    "detector": {"type": "string"},
                    "frames": {"type": "integer", "minimum": FRAMES[0], "maximum": FRAMES[1]},
                    "sampling": {"enum": list(SAMPLINGS)},
                    "start_s": {"type": "number", "minimum": 0},
                    "end_s": {"type": "number", "exclusiveMinimum": 0},
                    "batch": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                    "webhook": {"type": "string", "format": "uri"},
                },
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the errors that a route can answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": "Problem", "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


@router.post(
    "",
    status_code=202,
    response_model=documents.AnalysisDocument | documents.BatchDocument,
    responses={
        200: {"model": documents.AnalysisDocument, "description": "Finished within `wait`, or answered before."},
        **problem_responses(400, 401, 403, 408, 413, 415, 421, 422, 429, 503, 507),
    },
    openapi_extra={"requestBody": _UPLOAD_BODY},
    summary="Upload a video or an image, or several",
)
async def create(
    request: Request,
    who: Annotated[Caller, Depends(caller)],
    wait: Annotated[float, Query(ge=0, le=3600, allow_inf_nan=False, description="Seconds to wait for the verdict.")] = 0,
    detector: Annotated[str | None, Query(max_length=128, description="Name of the ensemble.")] = None,
    frames: Annotated[int | None, Query(ge=FRAMES[0], le=FRAMES[1], description="Frames to sample.")] = None,
    sampling: Annotated[Sampling | None, Query(description="How frames are spread over the video.")] = None,
    start_s: Annotated[float | None, Query(ge=0, allow_inf_nan=False, description="Start of the part to look at.")] = None,
    end_s: Annotated[float | None, Query(gt=0, allow_inf_nan=False, description="End of it.")] = None,
    batch: Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]{1,64}$", description="Puts it with others.")] = None,
    webhook: Annotated[str | None, Query(max_length=2000, description="Told when the analysis has ended.")] = None,
    filename: Annotated[str | None, Query(max_length=1024, description="Of a file sent as the body.")] = None,  # noqa: ARG001
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="The same key gives the same analysis.")
    ] = None,
) -> Response:
    """Options may be query parameters or fields of the form; a field counts where both are given.

    One file is answered with its analysis, several with a batch; files of a batch that cannot be read are listed as refused
    and do not stop the others.
    """
    services = services_of(request)
    await run_in_threadpool(services.store.check_room)  # before a byte is taken
    received = await uploads.receive(request, services.settings)
    try:
        given = {
            "detector": detector, "frames": frames, "sampling": sampling, "start_s": start_s, "end_s": end_s,
            "batch": batch, "webhook": webhook,
        }  # fmt: skip
        options = _read_options(given, received.fields, services.settings)
        _check_detector(options, services)
        ids, refused, replayed = await run_in_threadpool(_accept, services, who, received, options, idempotency_key)
    finally:
        await run_in_threadpool(received.discard)
    if len(received.files) > 1:
        rows = await run_in_threadpool(services.store.many, ids)
        batch_id = (rows[0].batch_id if rows else None) or options["batch"] or ""
        answer = documents.BatchDocument(batch=batch_id, analyses=[documents.summary(row) for row in rows], refused=refused)
        return _json(answer, status=200 if replayed else 202, replayed=replayed)
    row = await _settled(request, ids[0], min(wait, services.settings.max_wait_s))
    ended = row.state in ("done", "failed")
    return _json(
        documents.document(row), status=200 if replayed or (wait and ended) else 202, replayed=replayed,
        location=f"/v1/analyses/{row.id}",
    )  # fmt: skip


@router.get(
    "",
    response_model=documents.AnalysisList,
    responses=problem_responses(401, 421, 422, 429),
    summary="All analyses, a page at a time",
)
def list_analyses(
    request: Request,
    _who: Annotated[Caller, Depends(caller)],
    state: Annotated[documents.State | None, Query(description="How far it is.")] = None,
    label: Annotated[documents.LabelName | None, Query(description="What its verdict says.")] = None,
    batch: Annotated[str | None, Query(max_length=64, description="Put together under this name.")] = None,
    detector: Annotated[str | None, Query(max_length=128, description="Name of the ensemble.")] = None,
    name: Annotated[str | None, Query(max_length=255, description="Part of the file name.")] = None,
    since: Annotated[float | None, Query(allow_inf_nan=False, description="Seconds since 1970.")] = None,
    until: Annotated[float | None, Query(allow_inf_nan=False, description="Seconds since 1970, exclusive.")] = None,
    sort: Annotated[
        Literal["newest", "oldest", "score", "name"], Query(description="Highest scores first for `score`.")
    ] = "newest",
    limit: Annotated[int, Query(ge=1, le=200, description="Analyses of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
) -> documents.AnalysisList:
    """Filters narrow together. Take ``next_cursor`` for the next page."""
    wanted = Filter(
        state=state, label=label, batch=_stored(batch), detector=_stored(detector), name=_stored(name), since=since, until=until
    )
    page = services_of(request).store.list(wanted, sort=sort, limit=limit, cursor=cursor)
    return documents.AnalysisList(
        items=[documents.summary(row) for row in page.rows], total=page.total, next_cursor=page.next_cursor
    )


@router.get(
    "/{analysis_id}",
    response_model=documents.AnalysisDocument,
    responses=problem_responses(401, 404, 421, 422, 429, 503),
    summary="One analysis: state, progress, verdict",
)
async def get_analysis(
    request: Request,
    analysis_id: AnalysisId,
    _who: Annotated[Caller, Depends(caller)],
    wait: Annotated[float, Query(ge=0, le=3600, allow_inf_nan=False, description="Seconds to wait for its end.")] = 0,
) -> Response:
    """With ``wait`` the answer comes when the analysis has ended, or when the time is up."""
    row = await _settled(request, analysis_id, min(wait, services_of(request).settings.max_wait_s))
    return _json(documents.document(row), status=200)


@router.get(
    "/{analysis_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"},
        **problem_responses(401, 404, 421, 422, 429, 503),
    },
    summary="Progress as server-sent events",
)
async def events(request: Request, analysis_id: AnalysisId, _who: Annotated[Caller, Depends(caller)]) -> Response:
    """Each ``progress`` event holds the analysis without its verdict; ``end`` is the last one, ``gone`` says it was deleted."""
    services = services_of(request)
    await run_in_threadpool(services.store.get, analysis_id)
    watching = services.watcher.changes(analysis_id)
    event = await watching.__aenter__()  # here, so that "too many" is still a status

    async def stream() -> AsyncIterator[str]:
        last = -1
        try:
            while not services.watcher.closing.is_set():
                event.clear()
                try:
                    row = await run_in_threadpool(services.store.get, analysis_id)
                except NotFound:
                    yield "event: gone\ndata: {}\n\n"
                    return
                if row.revision != last:
                    last = row.revision
                    name = "end" if row.state in ("done", "failed") else "progress"
                    yield f"event: {name}\nid: {row.revision}\ndata: {documents.summary(row).model_dump_json()}\n\n"
                    if name == "end":
                        return
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await event.wait()
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            await watching.__aexit__(None, None, None)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@router.delete(
    "/{analysis_id}",
    status_code=204,
    responses=problem_responses(401, 403, 404, 421, 422, 429),
    summary="Delete an analysis and everything made of it",
)
def delete_analysis(request: Request, analysis_id: AnalysisId, _who: Annotated[Caller, Depends(caller)]) -> Response:
    """Works in every state; a worker that has it drops what it is doing when it is done."""
    services_of(request).store.delete(analysis_id)
    return Response(status_code=204)


def _json(answer: Any, *, status: int, replayed: bool = False, location: str | None = None) -> JSONResponse:
    headers = {"idempotency-replayed": "true"} if replayed else {}
    if location:
        headers["location"] = location
    return JSONResponse(answer.model_dump(mode="json"), status_code=status, headers=headers)


async def _settled(request: Request, analysis_id: str, wait_s: float) -> AnalysisRow:
    """The analysis when it has ended, or when the time is up or the sender gone."""
    services = services_of(request)
    if wait_s > 0:
        async with services.watcher.changes(analysis_id, end_only=True) as event:
            end = time.monotonic() + wait_s
            while not services.watcher.closing.is_set():
                event.clear()
                row = await run_in_threadpool(lambda: services.store.get(analysis_id, with_verdict=True))
                left_s = end - time.monotonic()
                if row.state in ("done", "failed"):
                    return row
                if left_s <= 0:
                    break
                try:
                    async with asyncio.timeout(left_s):
                        await event.wait()
                except TimeoutError:
                    break
    return await run_in_threadpool(lambda: services.store.get(analysis_id, with_verdict=True))


def _read_options(given: dict[str, Any], fields: dict[str, str], settings: ConsoleSettings) -> dict[str, Any]:
    """Query parameters, checked by the framework, under the form's fields, which are checked here."""
    unknown = sorted(set(fields) - _OPTIONS)
    if unknown:
        raise Invalid(f"the form has the field {unknown[0]!r}; the options are {', '.join(sorted(_OPTIONS))}, and 'file'")
    options = dict(given)
    for name, text in fields.items():
        if text.strip() != "":
            options[name] = _number(name, text) if name in ("frames", "start_s", "end_s") else text.strip()
    frames, start_s, end_s = options["frames"], options["start_s"], options["end_s"]
    if frames is not None and not FRAMES[0] <= frames <= FRAMES[1]:
        raise Invalid(f"frames is {frames}; it must be from {FRAMES[0]} to {FRAMES[1]}")
    if start_s is not None and start_s < 0:
        raise Invalid(f"start_s is {start_s:g}; it must be 0 or more seconds")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise Invalid(f"end_s is {end_s:g}; it must be after start_s ({start_s or 0:g})")
    if options["sampling"] is not None and options["sampling"] not in SAMPLINGS:
        raise Invalid(f"sampling is {options['sampling'][:40]!r}; it must be one of {', '.join(SAMPLINGS)}")
    if options["batch"] is not None and not _BATCH.fullmatch(options["batch"]):
        raise Invalid(f"batch is {options['batch'][:70]!r}; it must be 1 to 64 letters, digits, - or _")
    if options["webhook"] is not None:
        webhooks.check_url(options["webhook"])
    options["sampling"] = options["sampling"] or "uniform"
    options["detector"] = options["detector"] or settings.detector
    if len(options["detector"]) > 128 or not options["detector"].isprintable():
        raise Invalid(f"detector is {options['detector'][:40]!r}; /v1/models names those that are served")
    return options


def _number(name: str, text: str) -> float | int:
    try:
        value = int(text) if name == "frames" else float(text)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, OverflowError):
        raise Invalid(f"{name} is {text[:40]!r}; it must be a number") from None
    return value


def _check_detector(options: dict[str, Any], services: Services) -> None:
    """What is known of the server is held against the request now; what is not, the worker finds out."""
    catalog = services.catalog.peek()
    if not catalog.models:
        return
    model = catalog.find(options["detector"])
    if model is None:
        served = ", ".join(item.info.detector for item in catalog.models)
        raise Invalid(f"detector is {options['detector']!r}, which is not served; there is {served}", code="detector_not_found")
    if options["frames"] is not None and options["frames"] > model.info.max_frames:
        raise Invalid(f"frames is {options['frames']}; {options['detector']} takes 1 to {model.info.max_frames}; ask for fewer")


def _accept(
    services: Services, who: Caller, received: uploads.Received, options: dict[str, Any], idempotency_key: str | None
) -> tuple[list[str], list[documents.Refused], bool]:
    """Probes the files and queues what can be read; returns ids, what was refused, and whether this is a replay."""
    several = len(received.files) > 1
    rows: list[AnalysisRow] = []
    taken: list[tuple[Path, Path]] = []
    refused: list[documents.Refused] = []
    batch = options["batch"] or (secrets.token_hex(8) if several else None)
    for file in received.files:
        try:
            container = _probe(file)
        except ConsoleError as error:
            if not several:
                raise
            refused.append(documents.Refused(filename=file.filename, error=describe(error)))
            continue
        row = _row(file, container, who, {**options, "batch": batch})
        rows.append(row)
        taken.append((file.path, services.store.upload_path(row.id)))
    if not rows:
        return [], refused, False
    # Before the rows: a worker may take one the moment it is there.
    for received_at, waits_at in taken:
        received_at.rename(waits_at)
    try:
        earlier = services.store.add(
            rows, owner=who.name, idempotency_key=idempotency_key, fingerprint=_fingerprint(received, options)
        )
    except BaseException:
        for _, path in taken:
            path.unlink(missing_ok=True)
        raise
    if earlier is not None:
        for _, path in taken:
            path.unlink(missing_ok=True)
        return earlier, refused, True
    services.metrics.uploaded.inc(sum(row.size_bytes for row in rows))
    return [row.id for row in rows], refused, False


def _probe(file: uploads.StoredFile) -> Container:
    """What the file is by its first bytes. Nothing is decoded here: that is for a child of a worker."""
    try:
        with open_media(file.path, PreprocessSettings()) as stream:
            return identify(stream, file.filename)
    except PreprocessError as error:
        raise UnsupportedMedia(str(error).replace(str(file.path), file.filename), code=error.code) from error


def _row(file: uploads.StoredFile, container: Container, who: Caller, options: dict[str, Any]) -> AnalysisRow:
    return AnalysisRow(
        id=secrets.token_hex(12),
        batch_id=options["batch"],
        key_id=who.key_id,
        filename=file.filename,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        kind=container.kind,
        container=container.name,
        detector=options["detector"],
        frames=options["frames"],
        sampling=options["sampling"],
        start_s=options["start_s"],
        end_s=options["end_s"],
        webhook_url=options["webhook"],
        state="queued",
        frames_done=0,
        frames_planned=0,
        revision=0,
        attempts=0,
        available_at=0.0,
        created_at=time.time(),
    )


def _fingerprint(received: uploads.Received, options: dict[str, Any]) -> str:
    facts = [options, [(file.filename, file.sha256) for file in received.files]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stored(text: str | None) -> str | None:
    """PostgreSQL's text holds no NUL; nothing stored can match one."""
    return text.replace("\0", "\ufffd") if text is not None else None
