"""Addresses of the pages. They show what the API gives and change nothing that the API cannot; forms work without scripts."""

import json
import time
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from client.results import Failure, Result, to_document
from client.wording import explanation
from console.api.analyses import AnalysisId, create
from console.errors import Invalid, NotFound
from console.identity import COOKIE, Caller, caller
from console.pages import reference, views
from console.pages.advice import advice
from console.services import Services, services_of
from console.store import Filter, Sort
from console.tables import AnalysisRow
from console.tabular import cell
from preprocess.media import MEDIA_SUFFIXES
from preprocess.settings import PreprocessSettings

router = APIRouter(include_in_schema=False)
Who = Annotated[Caller, Depends(caller)]
_PAGE = 50
_SHOWS: tuple[tuple[str, str], ...] = (
    ("", "All"), ("FAKE", "Fake"), ("UNCERTAIN", "Uncertain"), ("REAL", "Real"), ("NOT_EVALUATED", "Not evaluated"),
    ("failed", "Errors"), ("running", "Being checked"), ("queued", "Waiting"),
)  # fmt: skip
_PERIODS = (("", "Any"), ("1", "Last day"), ("7", "Last week"), ("30", "Last month"))
_SORTS = (("newest", "Newest first"), ("oldest", "Oldest first"), ("score", "Highest score"), ("name", "File name"))
_MAX_COMPARED = 6


@router.get("/")
def home(request: Request, _who: Who) -> Response:
    """Where files are given."""
    services = services_of(request)
    recent = services.store.list(Filter(), sort="newest", limit=6, cursor=None).rows
    # Never waits for the server: what is known is shown, and the next visitor sees what this one had asked for.
    catalog = services.catalog.peek()
    return views.page(
        request, "home.html.j2", settings=services.settings, recent=recent, catalog=catalog,
        asked=catalog.error_message != "the server has not been asked yet", suffixes=",".join(sorted(MEDIA_SUFFIXES)),
    )  # fmt: skip


@router.post("/upload")
async def upload_without_script(request: Request, who: Who) -> Response:
    """The home page's form where scripts are off."""
    answer = json.loads(bytes((await create(request, who)).body))
    if "analyses" in answer:
        return RedirectResponse(f"/batches/{answer['batch']}", status_code=303)
    return RedirectResponse(f"/analyses/{answer['id']}", status_code=303)


@router.get("/analyses/{analysis_id}")
def analysis(request: Request, analysis_id: AnalysisId, _who: Who) -> Response:
    """A result, or how far it is."""
    services = services_of(request)
    row = services.store.get(analysis_id, with_verdict=True)
    facts: dict[str, Any] = {"row": row, "verdict": None, "stages": views.STAGES, "advice": advice(row.error_code)}
    if row.verdict is not None:
        verdict = views.verdict_of(row.verdict)
        frames = services.settings.results_dir / row.id / (row.artefacts or "none") / "frames"
        facts |= {
            "verdict": verdict,
            "data": views.player_data(verdict),
            "first_frame": views.first_frame(verdict, frames),
            "heat_stops": views.heat_stops(),
            "map_side": -(-verdict.preprocessing.image_size_px // 32),
            "min_face_px": round(PreprocessSettings().min_face_px),
        }
    return views.page(request, "analysis.html.j2", **facts)


@router.get("/history")
def history(
    request: Request,
    _who: Who,
    name: Annotated[str, Query(max_length=255)] = "",
    show: Annotated[str, Query(max_length=20)] = "",
    period: Annotated[str, Query(max_length=4)] = "",
    sort: Sort = "newest",
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """Everything that was checked."""
    if show not in dict(_SHOWS) or period not in dict(_PERIODS):
        raise Invalid(f"show is {show!r} and period {period!r}; take those that the form offers")
    label, state = _label_or_state(show)
    since = time.time() - int(period) * 86400 if period else None
    wanted = Filter(state=state, label=label, name=name.replace("\0", "") or None, since=since)
    page = services_of(request).store.list(wanted, sort=sort, limit=_PAGE, cursor=cursor)
    query = {"name": name, "show": show, "period": period, "sort": sort, "cursor": page.next_cursor or ""}
    return views.page(
        request, "history.html.j2", page=page, wanted=wanted, filtered=bool(name or show or period), show=show,
        shows=_SHOWS, period=period, periods=_PERIODS, sort=sort, sorts=_SORTS, next_query=urlencode(query),
    )  # fmt: skip


@router.post("/analyses/delete")
async def delete(request: Request, _who: Who) -> Response:
    """Deletes what was ticked, or the one of the page."""
    services = services_of(request)
    ids = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=500).get("id", [])

    def work() -> None:
        for analysis_id in ids:
            try:
                services.store.delete(analysis_id)
            except NotFound:
                continue  # somebody else was faster; it is gone, as wanted

    await run_in_threadpool(work)
    return RedirectResponse("/history", status_code=303)


@router.get("/compare")
def compare(request: Request, _who: Who, id: Annotated[list[str] | None, Query(max_length=200)] = None) -> Response:  # noqa: A002
    """Results side by side."""
    services = services_of(request)
    pairs = []
    for row in services.store.many((id or [])[:_MAX_COMPARED]):
        if row.verdict is not None:
            verdict = views.verdict_of(row.verdict)
            frames = services.settings.results_dir / row.id / (row.artefacts or "none") / "frames"
            pairs.append((row, verdict, views.first_frame(verdict, frames)))
    return views.page(request, "compare.html.j2", pairs=pairs)


@router.get("/batches/{batch}")
def batch_page(request: Request, batch: str, _who: Who) -> Response:
    """Summary of files that belong together."""
    rows = _batch(services_of(request), batch)
    busy = sum(row.state in ("queued", "running") for row in rows)
    counted = [(words, sum(row.label == label for row in rows)) for label, words in _SHOWS[1:5]]
    tally = [*counted, ("Errors", sum(row.state == "failed" for row in rows)), ("Being checked", busy)]
    return views.page(
        request, "batch.html.j2", batch=batch, rows=rows, busy=busy, tally=[(words, count) for words, count in tally if count]
    )


@router.get("/batches/{batch}/export")
def batch_export(
    request: Request,
    batch: str,
    _who: Who,
    format: Annotated[str, Query(pattern="^(csv|json)$")] = "csv",  # noqa: A002
) -> Response:
    """The summary as a file; JSON is what ``unmask detect --json`` prints."""
    services = services_of(request)
    rows = services.store.many([row.id for row in _batch(services, batch)])
    headers = {"content-disposition": f'attachment; filename="batch-{batch[:16]}.{format}"'}
    if format == "json":
        document = to_document([_result(row) for row in rows if row.state in ("done", "failed")])
        return Response(json.dumps(document), media_type="application/json", headers=headers)
    return Response(_batch_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/models")
def models(request: Request, _who: Who) -> Response:
    """What is served."""
    catalog = services_of(request).catalog.read()
    return views.page(request, "models.html.j2", catalog=catalog, advice=advice(catalog.error_code))


@router.get("/docs")
def docs(request: Request) -> Response:
    """The API's addresses, without scripts of other hosts."""
    return views.page(
        request, "docs.html.j2", groups=reference.operations(request.app.openapi()), problems=reference.problems(),
        base=str(request.base_url).rstrip("/"),
    )  # fmt: skip


@router.get("/sign-in")
def sign_in_page(request: Request) -> Response:
    """Asks for a key."""
    return views.page(request, "sign_in.html.j2", wrong=False)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Opens a session for a valid key. Cross-site requests were refused before."""
    services = services_of(request)
    who = f"sign-in:{request.client.host if request.client else ''}"
    key = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10).get("key", [""])[0].strip()
    allowed = all(services.limiter.hit(item, who) for item in services.limits)
    key_id = await run_in_threadpool(services.keys.check, key) if allowed else None
    if key_id is None:
        return views.page(request, "sign_in.html.j2", status=401, wrong=True)
    token = await run_in_threadpool(services.keys.open_session, key_id)
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(
        COOKIE, token, max_age=round(services.settings.session_ttl_s), httponly=True, samesite="strict",
        secure=services.settings.secure_cookies, path="/",
    )  # fmt: skip
    return answer


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Closes the session."""
    if token := request.cookies.get(COOKIE):
        await run_in_threadpool(services_of(request).keys.close_session, token)
    answer = RedirectResponse("/sign-in", status_code=303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def _label_or_state(show: str) -> tuple[str | None, str | None]:
    """What the form's choice filters by; the choice is one of ``_SHOWS``."""
    return (show, None) if show.isupper() else (None, show or None)


def _batch(services: Services, batch: str) -> list[AnalysisRow]:
    rows = services.store.list(Filter(batch=batch.replace("\0", "")), sort="oldest", limit=1000, cursor=None).rows
    if not rows:
        raise NotFound(f"there is no batch {batch[:64]!r}; its results were deleted or their time was up")
    return rows


def _result(row: AnalysisRow) -> Result:
    if row.verdict is not None:
        return Result(path=row.filename, verdict=views.verdict_of(row.verdict))
    return Result(path=row.filename, failure=Failure(code=row.error_code or "internal", message=row.error_message or ""))


def _batch_csv(rows: list[AnalysisRow]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "sha256", "state", "verdict", "reason", "score", "why"])
    for row in rows:
        why = explanation(views.verdict_of(row.verdict)) if row.verdict else row.error_message
        writer.writerow(
            [cell(row.filename), row.sha256, row.state, row.label, row.reason or row.error_code, row.score, cell(why or "")]
        )
    return text.getvalue()
