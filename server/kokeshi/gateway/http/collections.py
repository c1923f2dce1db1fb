"""REST routes of the service Collections."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside, found_bytes
from kokeshi.gateway.calls import current
from kokeshi.gateway.http import requests
from kokeshi.gateway.http.answers import collections as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.asked import ask, ask_items, ask_json, checked, new_item
from kokeshi.gateway.http.body import (
    NDJSON,
    lines,
    media_type,
    parse_json,
    service_of,
    timeout_s,
    wrong_type,
)
from kokeshi.gateway.http.openapi import bodies, json_body, lines_body
from kokeshi.gateway.ingest import Batch, add_batches
from kokeshi.service.types import NewItem

STREAM_BATCH_ITEMS: Final = 64
STREAM_BATCH_BYTES: Final = 16 * 2**20

router: Final = APIRouter(prefix="/v1/collections", tags=["Collections"])


@router.post(
    "",
    name="CreateCollection",
    status_code=201,
    response_model=answers.Collection,
    openapi_extra=json_body(requests.CreateCollectionRequest),
)
async def create_collection(request: Request) -> Response:
    """Makes an empty collection in the embedding space of a model."""
    asked = await ask_json(request, requests.CreateCollectionRequest)
    current().model = asked.model
    info = await service_of(request).create_collection(
        asked.name, asked.model, index=asked.index, durability=asked.durability
    )
    return respond(answers.Collection.model_validate(info), 201)


@router.get("", name="ListCollections", response_model=answers.ListCollectionsResponse)
async def list_collections(request: Request) -> Response:
    """All collections, by name."""
    infos = await service_of(request).list_collections()
    told = {"collections": list(infos)}
    return respond(answers.ListCollectionsResponse.model_validate(told))


@router.get("/{name}", name="DescribeCollection", response_model=answers.Collection)
async def describe_collection(name: str, request: Request) -> Response:
    """One collection and its state."""
    info = await service_of(request).describe_collection(name)
    return respond(answers.Collection.model_validate(info))


@router.delete("/{name}", name="DeleteCollection", response_model=answers.DeleteCollectionResponse)
async def delete_collection(name: str, request: Request) -> Response:
    """Removes a collection with all its items."""
    await service_of(request).delete_collection(name)
    return respond(answers.DeleteCollectionResponse())


@router.post(
    "/{name}/items",
    name="AddItems",
    response_model=answers.Written,
    openapi_extra=bodies(requests.AddItemsRequest, requests.AddItemsForm),
)
async def add_items(name: str, request: Request) -> Response:
    """Embeds and keeps items, all or none; answered when they are on disk."""
    asked, items = await ask_items(request)
    written = await service_of(request).add_items(
        name,
        items,
        on_conflict=asked.on_conflict,
        request_id=asked.request_id,
        space=asked.space,
        timeout_s=timeout_s(request),
    )
    return respond(answers.Written.model_validate(written))


@router.post(
    "/{name}/items/stream",
    name="AddItemsStream",
    response_model=answers.Written,
    openapi_extra=lines_body(requests.NewItemBody),
)
async def add_items_stream(
    name: str, request: Request, options: Annotated[requests.AddItemsOptions, Query()]
) -> Response:
    """Keeps items as they come, one JSON document per line.

    Items stored stay stored when a later line fails; the error says how many were.
    """
    if media_type(request) not in NDJSON:
        raise wrong_type(request, *NDJSON)
    written = await add_batches(service_of(request), _batches(name, request, options), lambda: None)
    return respond(answers.Written.model_validate(written))


async def _batches(
    name: str, request: Request, asked: requests.AddItemsOptions
) -> AsyncIterator[Batch]:
    number = 0
    async for items in _gathered(request):
        # the same lines with the same request id fall into the same batches
        request_id = f"{asked.request_id}.{number}" if asked.request_id else ""
        yield Batch(name, items, asked.on_conflict, request_id, asked.space)
        number += 1


async def _gathered(request: Request) -> AsyncIterator[list[NewItem]]:
    most_items = min(STREAM_BATCH_ITEMS, service_of(request).limits.max_inputs)
    items: list[NewItem] = []
    size = number = 0
    async for line in lines(request):
        number += 1
        items.append(_item(line, number))
        size += len(line)
        if len(items) == most_items or size >= STREAM_BATCH_BYTES:
            yield items
            items, size = [], 0
    if items:
        yield items


def _item(line: bytes, number: int) -> NewItem:
    try:
        return new_item(checked(requests.NewItemBody, parse_json(line)), "item")
    except InvalidRequestError as error:
        error.args = (f"line {number}: {error}",)
        raise


@router.get("/{name}/items", name="ListItems", response_model=answers.ListItemsResponse)
async def list_items(
    name: str, request: Request, query: Annotated[requests.ListItemsQuery, Query()]
) -> Response:
    """A page of items, oldest first."""
    page = await service_of(request).list_items(
        name,
        page_size=query.page_size,
        page_token=query.page_token,
        with_vectors=query.with_vectors,
    )
    return respond(answers.ListItemsResponse.model_validate(page))


@router.post(
    "/{name}/items/get",
    name="GetItems",
    response_model=answers.GetItemsResponse,
    openapi_extra=json_body(requests.GetItemsRequest),
)
async def get_items(name: str, request: Request) -> Response:
    """Items by id, in that order."""
    asked = await ask_json(request, requests.GetItemsRequest)
    items = await service_of(request).get_items(name, asked.ids, with_vectors=asked.with_vectors)
    return respond(answers.GetItemsResponse.model_validate({"items": list(items)}))


@router.post(
    "/{name}/items/delete",
    name="DeleteItems",
    response_model=answers.Written,
    openapi_extra=json_body(requests.ItemIdsRequest),
)
async def delete_items(name: str, request: Request) -> Response:
    """Removes items by id; the count is of those that existed."""
    asked = await ask_json(request, requests.ItemIdsRequest)
    written = await service_of(request).delete_items(name, asked.ids)
    return respond(answers.Written.model_validate(written))


@router.get(
    "/{name}/items/{item_id:path}",
    name="GetItems",
    operation_id="GetItem",
    response_model=answers.Item,
)
async def get_item(
    name: str, item_id: str, request: Request, with_vectors: bool = False
) -> Response:
    """One item."""
    items = await service_of(request).get_items(name, [item_id], with_vectors=with_vectors)
    return respond(answers.Item.model_validate(items[0]))


@router.delete(
    "/{name}/items/{item_id:path}",
    name="DeleteItems",
    operation_id="DeleteItem",
    response_model=answers.Written,
)
async def delete_item(name: str, item_id: str, request: Request) -> Response:
    """Removes one item; the count is 0 where there was none."""
    written = await service_of(request).delete_items(name, [item_id])
    return respond(answers.Written.model_validate(written))


@router.post(
    "/{name}/search",
    name="Search",
    response_model=answers.SearchResponse,
    openapi_extra=bodies(requests.SearchRequest, requests.SearchOptions),
)
async def search(name: str, request: Request) -> Response:
    """The nearest items of each query, best first."""
    asked, queries = await ask(request, requests.SearchOptions, requests.SearchRequest, "queries")
    current().model = asked.model
    answer = await service_of(request).search(
        name,
        queries,
        k=asked.k,
        mode=asked.mode,
        dimension=asked.dimension,
        shortlist=asked.shortlist,
        with_vectors=asked.with_vectors,
        model=asked.model,
        space=asked.space,
        timeout_s=timeout_s(request),
    )
    return await aside(
        found_bytes(answer), lambda: respond(answers.SearchResponse.model_validate(answer))
    )
