"""What the console is and how it does: models, limits, schemas, health, metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from client.verdict import verdict_schema
from console import documents
from console.api.analyses import FRAMES, SAMPLINGS, problem_responses
from console.errors import ServerDown
from console.identity import Caller, caller
from console.services import services_of
from preprocess.media import MEDIA_SUFFIXES

router = APIRouter()


@router.get(
    "/v1/models",
    tags=["service"],
    response_model=documents.ModelList,
    responses=problem_responses(401, 421, 429, 503),
    summary="The detectors that are served",
)
def models(request: Request, _who: Annotated[Caller, Depends(caller)]) -> documents.ModelList:
    """Their facts are read from the server."""
    services = services_of(request)
    catalog = services.catalog.read()
    if catalog.error_code is not None:
        raise ServerDown(catalog.error_message or "", code=catalog.error_code, retry_after_s=2)
    return documents.ModelList(
        default=services.settings.detector, models=[documents.model_document(model) for model in catalog.models]
    )


@router.get(
    "/v1/limits",
    tags=["service"],
    response_model=documents.Limits,
    responses=problem_responses(401, 421, 429),
    summary="What the API takes",
)
def limits(request: Request, _who: Annotated[Caller, Depends(caller)]) -> documents.Limits:
    """Worth reading before a large upload."""
    settings = services_of(request).settings
    return documents.Limits(
        max_upload_bytes=settings.max_upload_bytes,
        max_batch_files=settings.max_batch_files,
        max_batch_bytes=settings.max_batch_bytes,
        max_queued=settings.max_queued,
        max_wait_s=settings.max_wait_s,
        result_ttl_s=settings.result_ttl_s,
        rate_limit=settings.rate_limit,
        min_frames=FRAMES[0],
        max_frames=FRAMES[1],
        samplings=list(SAMPLINGS),
        suffixes=sorted(MEDIA_SUFFIXES),
    )


@router.get(
    "/v1/schemas/verdict", tags=["service"], responses=problem_responses(401, 421, 429), summary="JSON Schema of a verdict"
)
def schema(_who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
    """Draft 2020-12."""
    return verdict_schema()


@router.get("/healthz", tags=["service"], response_class=PlainTextResponse, summary="Is this process alive?")
async def healthz() -> str:
    """Always 200 while it is; asks nobody."""
    return "ok\n"


@router.get("/readyz", tags=["service"], responses={503: {"description": "Not yet"}}, summary="Can analyses be made now?")
def readyz(request: Request) -> Response:
    """Database, detector's server and workers; 503 where one is missing. An upload is accepted without the latter two."""
    services = services_of(request)
    checks: dict[str, str] = {}
    try:
        with services.database.read() as session:
            session.execute(text("SELECT 1"))
        checks["database"] = "ok"
        checks["workers"] = "ok" if services.queue.alive_workers() else "none is alive"
    except SQLAlchemyError as error:
        checks["database"] = type(error).__name__
    checks["triton"] = services.catalog.read().error_code or "ok"
    ready = all(value == "ok" for value in checks.values())
    return JSONResponse({"ready": ready, "checks": checks}, status_code=200 if ready else 503)


@router.get("/metrics", tags=["service"], response_class=PlainTextResponse, summary="Figures for Prometheus")
def metrics(request: Request) -> Response:
    """Numbers only: no names of files or keys."""
    return Response(services_of(request).metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
