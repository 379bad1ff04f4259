"""The application: routes, the guard in front of them, and how errors are answered."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from otovox.errors import OtovoxError
from otovox.serve import api, monai_label, pages
from otovox.serve.desk import ArchiveError, Desk, Unknown
from otovox.serve.security import Guard
from otovox.serve.uploads import Refused

log = logging.getLogger(__name__)


def make_app(desk: Desk) -> Starlette:
    """The web application of a desk, which starts and stops with it.

    >>> from types import SimpleNamespace as Some
    >>> app = make_app(Some(settings=Some(origins=())))
    >>> app.url_path_for("get_study", study="a1")
    '/api/studies/a1'
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        desk.start()
        yield
        desk.stop()

    guards = [Middleware(Guard, settings=desk.settings)]
    if desk.settings.origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=desk.settings.origins,
            allow_methods=["*"],
            allow_headers=["authorization", "content-type"],
        )
        guards.insert(0, cors)
    static = Path(str(files("otovox.serve") / "static"))
    app = Starlette(
        routes=[
            *pages.ROUTES,
            *api.ROUTES,
            *monai_label.ROUTES,
            Mount("/static", StaticFiles(directory=static)),
        ],
        middleware=guards,
        exception_handlers={OtovoxError: _refused, Exception: _broken},
        lifespan=lifespan,
    )
    app.state.desk = desk
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """One sentence, with 404 for what is not there, 502 for another server, otherwise 400."""
    code = 404 if isinstance(error, Unknown) else 400
    if isinstance(error, ArchiveError):
        code = 502
    if isinstance(error, Refused) and "large" in str(error):
        code = 413
    return JSONResponse({"problem": str(error)}, code)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s", request.url.path, exc_info=error)
    return JSONResponse({"problem": "internal error; see the server's log"}, 500)
