"""REST routes of collections and their items."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.calls import current
from kokeshi.gateway.http import collection_bodies
from kokeshi.gateway.http.answers import collections as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.asked import ask_items, ask_json
from kokeshi.gateway.http.body import parse_json, service_of, timeout_s
from kokeshi.gateway.http.openapi import bodies, json_body

router: Final = APIRouter(prefix="/v1/collections", tags=["Collections"])


@router.post(
    "",
    name="CreateCollection",
    status_code=201,
    response_model=answers.Collection,
    openapi_extra=json_body(collection_bodies.CreateCollectionRequest),
)
async def create_collection(request: Request) -> Response:
    """Makes an empty collection in the embedding space of a model."""
    asked = await ask_json(request, collection_bodies.CreateCollectionRequest)
    current().model = asked.model
    info = await service_of(request).create_collection(
        asked.name,
        asked.model,
        index=asked.index,
        durability=asked.durability,
        metric=asked.metric,
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


@router.get("/{name}/tenants", name="ListTenants", response_model=answers.ListTenantsResponse)
async def list_tenants(name: str, request: Request) -> Response:
    """Whose items there are, by name: all of them, or an error where there are too many."""
    told = await service_of(request).list_tenants(name)
    return respond(answers.ListTenantsResponse.model_validate({"tenants": list(told)}))


@router.post(
    "/{name}/items",
    name="AddItems",
    response_model=answers.Written,
    openapi_extra=bodies(collection_bodies.AddItemsRequest, collection_bodies.AddItemsForm),
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
        tenant=asked.tenant,
        timeout_s=timeout_s(request),
    )
    return respond(answers.Written.model_validate(written))


@router.get("/{name}/items", name="ListItems", response_model=answers.ListItemsResponse)
async def list_items(
    name: str, request: Request, query: Annotated[collection_bodies.ListItemsQuery, Query()]
) -> Response:
    """A page of items that fit, oldest first."""
    page = await service_of(request).list_items(
        name,
        page_size=query.page_size,
        page_token=query.page_token,
        with_vectors=query.with_vectors,
        filter=wanted(query.filter),
        tenant=query.tenant,
    )
    return respond(answers.ListItemsResponse.model_validate(page))


@router.post(
    "/{name}/items/get",
    name="GetItems",
    response_model=answers.GetItemsResponse,
    openapi_extra=json_body(collection_bodies.GetItemsRequest),
)
async def get_items(name: str, request: Request) -> Response:
    """Items by id, in that order."""
    asked = await ask_json(request, collection_bodies.GetItemsRequest)
    items = await service_of(request).get_items(
        name, asked.ids, with_vectors=asked.with_vectors, tenant=asked.tenant
    )
    return respond(answers.GetItemsResponse.model_validate({"items": list(items)}))


@router.post(
    "/{name}/items/count",
    name="CountItems",
    response_model=answers.CountItemsResponse,
    openapi_extra=json_body(collection_bodies.CountItemsRequest),
)
async def count_items(name: str, request: Request) -> Response:
    """How many items fit."""
    asked = await ask_json(request, collection_bodies.CountItemsRequest)
    count = await service_of(request).count_items(name, filter=asked.filter, tenant=asked.tenant)
    return respond(answers.CountItemsResponse(count=count))


@router.post(
    "/{name}/items/delete",
    name="DeleteItems",
    response_model=answers.Written,
    openapi_extra=json_body(collection_bodies.DeleteItemsRequest),
)
async def delete_items(name: str, request: Request) -> Response:
    """Removes items by ids or by a filter; the count is of those that existed."""
    asked = await ask_json(request, collection_bodies.DeleteItemsRequest)
    written = await service_of(request).delete_items(
        name, asked.ids, filter=asked.filter, tenant=asked.tenant
    )
    return respond(answers.Written.model_validate(written))


@router.get(
    "/{name}/items/{item_id:path}",
    name="GetItems",
    operation_id="GetItem",
    response_model=answers.Item,
)
async def get_item(
    name: str, item_id: str, request: Request, with_vectors: bool = False, tenant: str = ""
) -> Response:
    """One item."""
    items = await service_of(request).get_items(
        name, [item_id], with_vectors=with_vectors, tenant=tenant
    )
    return respond(answers.Item.model_validate(items[0]))


@router.delete(
    "/{name}/items/{item_id:path}",
    name="DeleteItems",
    operation_id="DeleteItem",
    response_model=answers.Written,
)
async def delete_item(name: str, item_id: str, request: Request, tenant: str = "") -> Response:
    """Removes one item; the count is 0 where there was none."""
    written = await service_of(request).delete_items(name, [item_id], tenant=tenant)
    return respond(answers.Written.model_validate(written))


def wanted(text: str) -> dict[str, Any] | None:
    """A filter from a query; None where there is none.

    Raises:
        InvalidRequestError: it is no JSON object.
    """
    if not text:
        return None
    value = parse_json(text.encode(), "the filter")
    if not isinstance(value, dict):
        raise InvalidRequestError(f"filter is a JSON object, not {text[:40]!r}")
    return value
