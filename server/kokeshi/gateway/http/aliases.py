"""REST routes of aliases."""

from typing import Final

from fastapi import APIRouter, Request, Response

from kokeshi.gateway.http import collection_bodies
from kokeshi.gateway.http.answers import collections as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.asked import ask_json
from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.openapi import json_body
from kokeshi.service.types import Alias

router: Final = APIRouter(prefix="/v1/aliases", tags=["Collections"])


@router.post(
    "",
    name="SetAliases",
    response_model=answers.AliasesResponse,
    openapi_extra=json_body(collection_bodies.SetAliasesRequest),
)
async def set_aliases(request: Request) -> Response:
    """Points names at collections, all at once or none; those that exist move."""
    asked = await ask_json(request, collection_bodies.SetAliasesRequest)
    aliases = [Alias(alias.name, alias.collection) for alias in asked.aliases]
    told = await service_of(request).set_aliases(aliases)
    return respond(answers.AliasesResponse.model_validate({"aliases": list(told)}))


@router.get("", name="ListAliases", response_model=answers.AliasesResponse)
async def list_aliases(request: Request, collection: str = "") -> Response:
    """Aliases by name, of one collection or of all."""
    told = await service_of(request).list_aliases(collection)
    return respond(answers.AliasesResponse.model_validate({"aliases": list(told)}))


@router.delete("/{alias}", name="DeleteAlias", response_model=answers.DeleteAliasResponse)
async def delete_alias(alias: str, request: Request) -> Response:
    """Removes an alias; the collection stays."""
    await service_of(request).delete_alias(alias)
    return respond(answers.DeleteAliasResponse())
