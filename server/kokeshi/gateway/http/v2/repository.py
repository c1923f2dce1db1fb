"""The model repository over KServe v2.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from typing import Any, Final

from fastapi import Request, Response

from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.v2.body import read_fields
from kokeshi.gateway.http.v2.routes import make_router, respond
from kokeshi.gateway.http.v2.schemas import answer, body
from kokeshi.gateway.kserve.metadata import repository_index
from kokeshi.gateway.kserve.repository import load, unload

DONE: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "Done; there is no body."}}

router: Final = make_router()


@router.post(
    "/v2/repository/index",
    name="RepositoryIndex",
    responses=answer("KServeIndex"),
    response_class=Response,
    openapi_extra=body("KServeIndexRequest"),
)
async def index(request: Request) -> Response:
    """Every version of every model of the repository, with its state and the reason for it."""
    fields = await read_fields(request, "the request")
    return respond(repository_index(service_of(request), fields.flag("ready")))


@router.post(
    "/v2/repository/models/{model}/load",
    name="RepositoryModelLoad",
    responses=DONE,
    response_class=Response,
    openapi_extra=body("KServeLoadRequest"),
)
async def load_model(model: str, request: Request) -> Response:
    """Loads a model, or loads it again; answered when it is ready."""
    fields = await read_fields(request, "the request")
    await load(service_of(request), model, fields.parameters().content)
    return Response()


@router.post(
    "/v2/repository/models/{model}/unload",
    name="RepositoryModelUnload",
    responses=DONE,
    response_class=Response,
    openapi_extra=body("KServeUnloadRequest"),
)
async def unload_model(model: str, request: Request) -> Response:
    """Stops serving a model, when what runs has finished."""
    fields = await read_fields(request, "the request")
    await unload(service_of(request), model, fields.parameters().content)
    return Response()
