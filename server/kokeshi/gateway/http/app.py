"""The application behind the HTTP door."""

from typing import Final

from fastapi import FastAPI

from kokeshi import __version__
from kokeshi.gateway.http import (
    aliases,
    collections,
    docs,
    openai,
    retrieval,
    searching,
    server,
    streams,
    v2,
    vision,
)
from kokeshi.gateway.http.errors import answer_errors
from kokeshi.gateway.http.hangup import Hangup
from kokeshi.gateway.http.openapi import ERRORS, document
from kokeshi.gateway.http.recorder import Recorder
from kokeshi.gateway.readiness import Readiness
from kokeshi.gateway.triton_metrics import COLLECTOR
from kokeshi.service import Service

DESCRIPTION: Final = "Classes, masks, vectors and neighbours from published vision methods."


def make_app(service: Service, readiness: Readiness) -> FastAPI:
    """The application with all routes."""
    app = FastAPI(
        title="Kokeshi",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.readiness = readiness
    COLLECTOR.watch(service)
    # routes are tried in order, so the one of microseconds comes first
    first, *others = v2.ROUTERS
    app.include_router(first)
    for module in (vision, streams, collections, searching, aliases, retrieval, server):
        app.include_router(module.router, responses=ERRORS)
    app.include_router(openai.router)
    for router in others:
        app.include_router(router)
    app.include_router(docs.router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign] # FastAPI's way to extend it
    answer_errors(app)
    app.add_middleware(Hangup)
    app.add_middleware(Recorder)  # the last is the outermost
    return app
