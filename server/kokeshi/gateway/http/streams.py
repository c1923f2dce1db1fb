"""REST routes that take items as a stream of lines."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http import collection_bodies
from kokeshi.gateway.http.answers import collections as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.body import (
    NDJSON,
    lines,
    media_type,
    service_of,
    wrong_type,
)
from kokeshi.gateway.http.checking import checked
from kokeshi.gateway.http.json_inputs import new_item, with_metadata
from kokeshi.gateway.http.lines import LinesResponse
from kokeshi.gateway.http.openapi import lines_body
from kokeshi.gateway.ingest import Batch, add_batches
from kokeshi.service.types import IngestBatch, Ingested, IngestOptions, NewItem, Unreadable

STREAM_BATCH_ITEMS: Final = 64
STREAM_BATCH_BYTES: Final = 16 * 2**20

router: Final = APIRouter(prefix="/v1/collections", tags=["Collections"])


@router.post(
    "/{name}/items/stream",
    name="AddItemsStream",
    response_model=answers.Written,
    openapi_extra=lines_body(collection_bodies.NewItemBody),
)
async def add_items_stream(
    name: str, request: Request, options: Annotated[collection_bodies.AddItemsOptions, Query()]
) -> Response:
    """Keeps items as they come, one JSON document per line.

    Items stored stay stored when a later line fails; the error says how many were.
    """
    if media_type(request) not in NDJSON:
        raise wrong_type(request, *NDJSON)
    written = await add_batches(service_of(request), _batches(name, request, options), lambda: None)
    return respond(answers.Written.model_validate(written))


async def _batches(
    name: str, request: Request, asked: collection_bodies.AddItemsOptions
) -> AsyncIterator[Batch]:
    number = 0
    async for items in _gathered(request):
        # the same lines with the same request id fall into the same batches
        request_id = f"{asked.request_id}.{number}" if asked.request_id else ""
        yield Batch(name, items, asked.on_conflict, request_id, asked.space, asked.tenant)
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
        body = with_metadata(collection_bodies.NewItemBody, line, lambda item: [item.metadata])
        return new_item(body, "item")
    except InvalidRequestError as error:
        error.args = (f"line {number}: {error}",)
        raise


@router.post(
    "/{name}/items:ingest",
    name="Ingest",
    response_model=answers.Ingested,
    openapi_extra=lines_body(collection_bodies.IngestBatchBody),
)
async def ingest(
    name: str, request: Request, options: Annotated[collection_bodies.IngestOptions, Query()]
) -> Response:
    """Keeps batch after batch, one JSON document per line, each answered by a line.

    An item that is refused does not stop the others; an error that ends the stream is the last
    line.
    """
    if media_type(request) not in NDJSON:
        raise wrong_type(request, *NDJSON)
    told = service_of(request).ingest(
        name,
        _ingested_batches(request),
        IngestOptions(options.stream_id, options.tenant, options.on_conflict, options.space),
    )
    await service_of(request).describe_collection(name)  # what is not there is no stream
    return LinesResponse(_told(told))


async def _told(ingested: AsyncIterator[Ingested]) -> AsyncIterator[answers.Ingested]:
    async for one in ingested:
        yield answers.Ingested.model_validate(one)


async def _ingested_batches(request: Request) -> AsyncIterator[IngestBatch]:
    number = 0
    async for line in lines(request):
        number += 1
        try:
            batch = with_metadata(collection_bodies.IngestBatchBody, line, _metadata)
        except InvalidRequestError as error:
            error.args = (f"line {number}: {error}",)
            raise
        yield IngestBatch(batch.offset, [_item_or_error(item) for item in batch.items])


def _metadata(batch: collection_bodies.IngestBatchBody) -> list[Any]:
    return [item.get("metadata") for item in batch.items if isinstance(item, dict)]


def _item_or_error(body: Any) -> NewItem | Unreadable:  # noqa: ANN401 - any JSON value
    try:
        return new_item(checked(collection_bodies.NewItemBody, body), "item")
    except InvalidRequestError as error:
        item_id = body.get("id") if isinstance(body, dict) else None
        return Unreadable(item_id if isinstance(item_id, str) else "", error.code, str(error))
