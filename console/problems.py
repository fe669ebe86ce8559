"""Errors as problem documents (RFC 9457) for programs, and as pages for people; the one place where both are made."""

import logging
import math
from typing import Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from console.database import is_disk_full
from console.documents import Problem
from console.errors import ConsoleError, DatabaseDown, DiskFull

logger = logging.getLogger("unmask.console")
MEDIA_TYPE = "application/problem+json"
_TITLES = {404: "There is nothing here", 405: "Not a method of this address", 503: "Not available for now"}
_CODES = {404: "not_found", 405: "method_not_allowed", 503: "unavailable"}


def describe(error: ConsoleError, path: str | None = None) -> Problem:
    """The document of an error."""
    return Problem(
        type=f"urn:unmask:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=str(error),
        code=error.code,
        instance=path,
        errors=None,
    )


def wants_page(request: Request) -> bool:
    """Whether a person's browser asked, outside the API."""
    return not request.url.path.startswith(("/v1/", "/static/")) and "text/html" in request.headers.get("accept", "")


def respond(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The answer, in the form that the sender reads."""
    if wants_page(request):
        from console.pages.views import error_page

        return error_page(request, problem, headers)
    body = problem.model_dump(exclude_none=True)
    return JSONResponse(body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def handle_console_error(request: Request, error: Exception) -> Response:
    """Handler of ``ConsoleError``."""
    assert isinstance(error, ConsoleError)
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return respond(request, describe(error, request.url.path), headers)


def handle_database_error(request: Request, error: Exception) -> Response:
    """Handler of SQLAlchemy's ``OperationalError``: the disk is full, or the database is away."""
    assert isinstance(error, OperationalError)
    logger.error("%s %s: %s", request.method, request.url.path, error.orig)
    if is_disk_full(error):
        return handle_console_error(
            request, DiskFull("there is no room for the database to write; delete results or make room")
        )
    message = "the database cannot be used for now; nothing was accepted: try again, and look at the console's log if it lasts"
    return handle_console_error(request, DatabaseDown(message, retry_after_s=5))


def handle_http_exception(request: Request, error: Exception) -> Response:
    """Handler of what the framework raises by itself, such as 404 and 405."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, f"http_{error.status_code}")
    problem = Problem(
        type=f"urn:unmask:problem:{code}",
        title=_TITLES.get(error.status_code, str(error.detail)),
        status=error.status_code,
        detail=f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is",
        code=code,
        instance=request.url.path,
        errors=None,
    )
    return respond(request, problem, dict(error.headers or {}))


def handle_validation_error(request: Request, error: Exception) -> Response:
    """Handler of options that are not valid."""
    assert isinstance(error, RequestValidationError)
    errors: list[dict[str, Any]] = [
        {"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"], "value": _short(item.get("input"))}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['where']} is {item['value']}: {item['message']}" for item in errors[:5])
    problem = Problem(
        type="urn:unmask:problem:invalid_option",
        title="An option is not valid",
        status=422,
        detail=detail or "the request is not valid",
        code="invalid_option",
        instance=request.url.path,
        errors=errors,
    )
    return respond(request, problem)


def handle_crash(request: Request, _error: Exception) -> Response:
    """Handler of the unforeseen; the log has the traceback."""
    problem = Problem(
        type="urn:unmask:problem:internal",
        title="Something went wrong here",
        status=500,
        detail="an error that was not foreseen; the console's log says more",
        code="internal",
        instance=request.url.path,
        errors=None,
    )
    return respond(request, problem)


def _short(value: Any) -> str:
    return repr(value)[:80]
