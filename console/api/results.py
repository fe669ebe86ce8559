"""What was made of an analysis: reports, pictures of the sampled frames, and crops."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from client import Verdict
from console.api.analyses import AnalysisId, problem_responses
from console.errors import NoResult, NotFinished, NotFound
from console.identity import caller
from console.services import Services, services_of
from console.tables import AnalysisRow

router = APIRouter(prefix="/v1/analyses/{analysis_id}", tags=["results"], dependencies=[Depends(caller)])
Number = Annotated[int, PathParameter(ge=0, le=2**31, description="As the verdict numbers it.")]
_IMMUTABLE = {"cache-control": "private, max-age=86400, immutable"}
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "JPEG"}
}


@router.get(
    "/report",
    response_class=Response,
    responses={
        200: {
            "description": "The report",
            "content": {
                "text/html": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "object"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **problem_responses(401, 404, 409, 421, 422, 429),
    },
    summary="The report as HTML, JSON or CSV",
)
def report(
    request: Request,
    analysis_id: AnalysisId,
    format: Annotated[Literal["html", "json", "csv"], Query(description="HTML is one self-contained file.")] = "html",  # noqa: A002
    download: Annotated[bool, Query(description="Have a browser save it instead of showing it.")] = False,
) -> Response:
    """HTML for people, JSON for programs (the verdict, as ``/v1/schemas/verdict`` describes), CSV with a line a face."""
    services = services_of(request)
    row = finished(services, analysis_id)
    headers = {"content-disposition": _disposition(row, format, attachment=download)}
    if format == "html":
        path = artefact(services, row, "report.html")
        return FileResponse(path, media_type="text/html", headers={**headers, "content-security-policy": _REPORT_POLICY})
    assert row.verdict is not None
    if format == "json":
        return Response(row.verdict, media_type="application/json", headers=headers)
    from console.tabular import to_csv

    return Response(to_csv(Verdict.from_dict(json.loads(row.verdict))), media_type="text/csv; charset=utf-8", headers=headers)


@router.get(
    "/frames/{frame_index}.jpg",
    response_class=FileResponse,
    responses={**_JPEG, **problem_responses(401, 404, 409, 421, 422, 429)},
    summary="A sampled frame",
)
def frame(request: Request, analysis_id: AnalysisId, frame_index: Number) -> Response:
    """Scaled down; boxes of the verdict are in pixels of the original."""
    services = services_of(request)
    path = artefact(services, finished(services, analysis_id), f"frames/{frame_index}.jpg")
    return FileResponse(path, media_type="image/jpeg", headers=_IMMUTABLE)


@router.get(
    "/crops/{track_id}/{frame_index}.jpg",
    response_class=FileResponse,
    responses={**_JPEG, **problem_responses(401, 404, 409, 421, 422, 429)},
    summary="A face as the detector saw it",
)
def crop(request: Request, analysis_id: AnalysisId, track_id: Number, frame_index: Number) -> Response:
    """Of the person ``track_id`` in the frame ``frame_index``."""
    services = services_of(request)
    path = artefact(services, finished(services, analysis_id), f"crops/{track_id}/{frame_index}.jpg")
    return FileResponse(path, media_type="image/jpeg", headers=_IMMUTABLE)


def finished(services: Services, analysis_id: str) -> AnalysisRow:
    """The analysis with its verdict.

    Raises:
        NotFound, NotFinished, NoResult
    """
    row = services.store.get(analysis_id, with_verdict=True)
    if row.state in ("queued", "running"):
        raise NotFinished(f"the analysis of {row.filename} is {row.state}; wait for its end (?wait=30, or /events)")
    if row.verdict is None:
        raise NoResult(f"the analysis of {row.filename} failed with {row.error_code}: {row.error_message}")
    return row


def artefacts_dir(services: Services, row: AnalysisRow) -> Path:
    """Where the files of the result lie."""
    return services.settings.results_dir / row.id / (row.artefacts or "none")


def artefact(services: Services, row: AnalysisRow, name: str) -> Path:
    """A file of the result; ``name`` is made of numbers and words of ours.

    Raises:
        NotFound: There is no such file.
    """
    path = artefacts_dir(services, row) / name
    if not path.is_file():
        raise NotFound(f"{name} is no file of this result; the verdict names the frames that there are")
    return path


def _disposition(row: AnalysisRow, suffix: str, *, attachment: bool) -> str:
    name = f"{row.filename}.unmask.{suffix}"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    kind = "attachment" if attachment else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
