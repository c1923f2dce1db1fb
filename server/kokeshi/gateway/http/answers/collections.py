"""Answers of the service Collections."""

from collections.abc import Sequence
from typing import Any

from pydantic import model_validator

from kokeshi.gateway.http.answers import Answer, Floats
from kokeshi.service import types


class Collection(Answer):
    """A collection and its state."""

    name: str
    model: str
    space: str
    dimension: int
    dimensions: list[int]
    metric: str
    index: str
    durability: str
    count: int
    sequence: int
    indexed_sequence: int
    index_in_use: str


class ListCollectionsResponse(Answer):
    """Answer of ListCollections."""

    collections: list[Collection]


class DeleteCollectionResponse(Answer):
    """Answer of DeleteCollection: nothing."""


class Written(Answer):
    """Acknowledgement of a write."""

    count: int
    sequence: int


class Item(Answer):
    """Something kept."""

    id: str
    metadata: dict[str, Any]
    vector: Floats = None
    sequence: int


class GetItemsResponse(Answer):
    """Answer of GetItems."""

    items: list[Item]


class ListItemsResponse(GetItemsResponse):
    """Answer of ListItems; an empty token says that it was the last page."""

    next_page_token: str


class Hit(Answer):
    """A neighbour."""

    id: str
    score: float
    metadata: dict[str, Any]
    vector: Floats = None


class Hits(Answer):
    """Neighbours of one query, best first."""

    hits: list[Hit]

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, hits: Sequence[types.Hit]) -> dict[str, Any]:
        return {"hits": hits}


class SearchResponse(Answer):
    """Answer of Search."""

    results: list[Hits]
    space: str
    dimension: int
    higher_is_better: bool
