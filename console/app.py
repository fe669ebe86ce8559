"""The application: routes, guards and error handlers put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from console import problems
from console.api import analyses, heatmaps, results, service
from console.documents import Problem
from console.errors import ConsoleError
from console.guards import Guards
from console.metrics import MeasureRequests
from console.services import open_services
from console.settings import ConsoleSettings
from unmask import __version__

_DESCRIPTION = """\
Says of videos and images whether the faces in them are fake, and what it does not know.

Upload with `POST /v1/analyses`, then follow `links.events` or ask again with `?wait=30`. Errors are problem documents
(RFC 9457) whose `code` is stable. Keys go into `Authorization: Bearer unm_...`.
"""


def create_app(settings: ConsoleSettings) -> FastAPI:
    """The ASGI application. Folders, database and connections are made when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = await run_in_threadpool(open_services, settings)
        app.state.services = services
        # So that the first page knows the detectors, and the first request is held against them.
        asking = asyncio.create_task(run_in_threadpool(services.catalog.read))
        yield
        await asking
        services.close()

    app = FastAPI(
        title="Unmask",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from another host; ``pages`` has one that does not.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(analyses.router)
    app.include_router(results.router)
    app.include_router(heatmaps.router)
    app.include_router(service.router)
    from console.pages import routes

    app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")
    app.add_exception_handler(ConsoleError, problems.handle_console_error)
    app.add_exception_handler(RequestValidationError, problems.handle_validation_error)
    app.add_exception_handler(HTTPException, problems.handle_http_exception)
    app.add_exception_handler(OperationalError, problems.handle_database_error)
    app.add_exception_handler(Exception, problems.handle_crash)
    # The last one added stands outermost.
    app.add_middleware(Guards, settings=settings)
    app.add_middleware(MeasureRequests)
    make_openapi = app.openapi

    def openapi() -> dict[str, object]:
        document = make_openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app
