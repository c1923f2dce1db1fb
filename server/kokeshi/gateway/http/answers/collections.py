"""Answers of the service Collections."""

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from kokeshi.gateway.http.answers import Answer, Floats
from kokeshi.service import types

# fields that say nothing are left out
Word = Annotated[str | None, BeforeValidator(lambda text: text or None)]
Words = Annotated[list[str] | None, BeforeValidator(lambda words: list(words or ()) or None)]


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
    tail: int
    dead: int
    memory_bytes: int
    mapped_bytes: int
    build_progress: float | None
    quarantine: Word
    tenants: int
    curvature: float | None


class Alias(Answer):
    """Another name of a collection."""

    name: str
    collection: str


class AliasesResponse(Answer):
    """Answer of SetAliases and ListAliases."""

    aliases: list[Alias]


class DeleteAliasResponse(Answer):
    """Answer of DeleteAlias: nothing."""


class CountItemsResponse(Answer):
    """Answer of CountItems."""

    count: int


class Tenant(Answer):
    """Whose items there are, and how many; the name of nobody is empty."""

    name: str
    count: int


class ListTenantsResponse(Answer):
    """Answer of ListTenants, by name."""

    tenants: list[Tenant]


class ItemError(Answer):
    """Why an item of a batch was not stored."""

    position: int
    id: str
    code: str
    message: str


class Ingested(Answer):
    """One line of the answer of Ingest."""

    offset: int
    sequence: int
    count: int
    errors: list[ItemError]


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
    origin: Word = None


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
    collapsed_ids: Words = None


class Group(Answer):
    """Hits that share a value, best first."""

    value: str | int | float | bool
    hits: list[Hit]


class Hits(Answer):
    """Neighbours of one query, best first; groups of them where those were asked for."""

    hits: list[Hit]
    groups: list[Group] | None = None


class Route(Answer):
    """What was searched, and the length and number of its candidates."""

    kind: str
    first: int
    shortlist: int
    breadth: int


class RecallEstimate(Answer):
    """Share of the true neighbours that such searches found lately, and its 95 % interval."""

    value: float
    low: float
    high: float
    samples: int


class SearchResponse(Answer):
    """Answer of Search."""

    results: list[Hits]
    space: str
    dimension: int
    higher_is_better: bool
    sequence: int
    exact: bool
    proven_exact: bool
    route: Route
    recall_estimate: RecallEstimate | None
    next_page_token: Word

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, answer: types.Found) -> dict[str, Any]:
        told = {name: getattr(answer, name) for name in cls.model_fields if name != "results"}
        results: list[dict[str, Any]] = [{"hits": hits} for hits in answer.results]
        if answer.groups:
            results = [{"hits": [], "groups": groups} for groups in answer.groups]
        return {**told, "results": results}


class CallError(Answer):
    """Why a search of a stream failed."""

    code: str
    message: str


class SearchLine(Answer):
    """One line of the answer of SearchStream."""

    id: int
    answer: SearchResponse | None = None
    error: CallError | None = None


class DimensionScore(Answer):
    """Score and rank of an item when all that fit are compared at a trained length."""

    dimension: int
    score: float
    rank: int | None


class BlockScore(Answer):
    """What the values from `begin` to before `end` add to the full score."""

    begin: int
    end: int
    contribution: float


class Explanation(Answer):
    """Answer of Explain."""

    stage: types.Stage
    rank: int | None
    route: Route
    higher_is_better: bool
    dimensions: list[DimensionScore]
    blocks: list[BlockScore]
    sequence: int
