"""How the routes of KServe v2 are made: every one of a model exists with and without a version."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Path, Request, Response

from kokeshi.gateway.http.body import JSON
from kokeshi.gateway.http.v2.schemas import ERRORS, Schema

TAG: Final = "KServe v2"
MODEL: Final = "/v2/models/{model}"
VERSION: Final = "/v2/models/{model}/versions/{version}"

# For the docs alone: what is no version is refused with the same message at both doors.
Version = Annotated[str, Path(json_schema_extra={"pattern": "^[1-9][0-9]{0,17}$"})]
Handler = Callable[[str, Request, str], Awaitable[Response]]


def make_router() -> APIRouter:
    """A router whose routes tell the errors of the protocol."""
    return APIRouter(tags=[TAG], responses=ERRORS)


def of_model(
    router: APIRouter,
    suffix: str,
    handler: Handler,
    *,
    name: str,
    answers: dict[int | str, Schema],
    method: str = "GET",
    told: Schema | None = None,
) -> None:
    """Adds a route of a model, and the same of one of its versions.

    Args:
        router: to add to.
        suffix: of the path.
        handler: takes `model`, `request` and `version`, which is "" where the path has none.
        name: of the RPC that does the same.
        answers: `responses` of OpenAPI.
        method: of HTTP.
        told: more for OpenAPI.
    """

    async def of_newest(model: str, request: Request) -> Response:
        return await handler(model, request, "")

    of_newest.__doc__ = handler.__doc__
    routes = ((MODEL, of_newest, name), (VERSION, handler, f"{name}OfVersion"))
    for path, endpoint, operation_id in routes:
        router.add_api_route(
            path + suffix,
            endpoint,
            methods=[method],
            name=name,
            operation_id=operation_id,
            responses=answers,
            response_class=Response,
            openapi_extra=told,
        )


def respond(content: object) -> Response:
    """A JSON answer on its way out."""
    return Response(orjson.dumps(content), media_type=JSON)
