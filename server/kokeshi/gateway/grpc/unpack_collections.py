"""From protobuf messages about collections to what the service is asked."""

from typing import Any

import orjson

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.grpc.unpack import choice, one_input, optional
from kokeshi.gateway.ingest import Batch
from kokeshi.gateway.integers import exactly, is_rounded
from kokeshi.service.types import (
    Example,
    Examples,
    IngestBatch,
    IngestOptions,
    NewItem,
    OnConflict,
    SearchMode,
    SearchWords,
    Unreadable,
)
from kokeshi.v1 import collections_pb2 as cpb


def batch(message: cpb.AddItemsRequest) -> Batch:
    """The items of a message.

    Raises:
        InvalidRequestError: an input or its metadata cannot be read; its position is named.
    """
    return Batch(
        message.collection,
        [_new_item(item, f"items[{i}]") for i, item in enumerate(message.items)],
        choice(cpb.OnConflict, message.on_conflict, "on_conflict", OnConflict.FAIL),
        message.request_id,
        message.space,
        message.tenant,
    )


def _new_item(message: cpb.NewItem, place: str) -> NewItem:
    metadata = _object(message.metadata_json, f"{place}.metadata_json")
    if is_rounded(metadata):
        metadata = exactly(message.metadata_json)
    return NewItem(message.id, one_input(message.input, f"{place}.input"), metadata or {})


def _object(text: str, place: str) -> dict[str, Any] | None:
    """A JSON object; None where there is no text."""
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{place} is a JSON object, not {text[:40]!r}")
    return value


def wanted(text: str) -> dict[str, Any] | None:
    """A filter; None where there is none.

    Raises:
        InvalidRequestError: it is no JSON object.
    """
    return _object(text, "filter_json")


def ingest_options(message: cpb.IngestRequest) -> IngestOptions:
    """What the first message of a stream says of all batches.

    Raises:
        InvalidRequestError: a word is none that is known.
    """
    return IngestOptions(
        message.stream_id,
        message.tenant,
        choice(cpb.OnConflict, message.on_conflict, "on_conflict", OnConflict.FAIL),
        message.space,
    )


def ingest_batch(message: cpb.IngestRequest) -> IngestBatch:
    """The items of a message; one that cannot be read stops no other."""
    return IngestBatch(message.offset, [_item_or_error(item) for item in message.items])


def _item_or_error(message: cpb.NewItem) -> NewItem | Unreadable:
    try:
        return _new_item(message, "item")
    except InvalidRequestError as error:
        return Unreadable(message.id, error.code, str(error))


def search_words(request: cpb.SearchRequest) -> SearchWords:
    """The options of a search.

    Raises:
        InvalidRequestError: one cannot be read.
    """
    return SearchWords(
        k=optional(request, "k"),
        mode=choice(cpb.SearchMode, request.mode, "mode", SearchMode.AUTO),
        dimension=optional(request, "dimension"),
        shortlist=optional(request, "shortlist"),
        breadth=optional(request, "breadth"),
        recall_target=optional(request, "recall_target"),
        budget_ms=optional(request, "budget_ms"),
        with_vectors=request.with_vectors,
        model=request.model,
        space=request.space,
        tenant=request.tenant,
        filter=wanted(request.filter_json),
        query_ids=tuple(request.query_ids),
        examples=tuple(_examples(each, i) for i, each in enumerate(request.examples)),
        exclude_ids=tuple(request.exclude_ids),
        threshold=optional(request, "threshold"),
        min_sequence=request.min_sequence,
        group_by=request.group_by,
        group_size=optional(request, "group_size"),
        collapse=optional(request, "collapse"),
        page_token=request.page_token,
    )


def _examples(message: cpb.Examples, position: int) -> Examples:
    sides = {
        side: tuple(
            _example(each, f"examples[{position}].{side}[{i}]")
            for i, each in enumerate(getattr(message, side))
        )
        for side in ("positive", "negative")
    }
    return Examples(sides["positive"], sides["negative"])


def _example(message: cpb.Example, place: str) -> Example:
    if message.WhichOneof("kind") == "id":
        return message.id
    return one_input(message.input, place)
