"""Searches of collections: what they are asked and what they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kokeshi.service.collection_types import NO_TENANT
from kokeshi.service.inputs import Input


class SearchMode(StrEnum):
    """How a collection is searched."""

    AUTO = "auto"
    EXACT = "exact"
    TWO_STAGE = "two_stage"


Example = str | Input  # the id of an item, or an input


@dataclass(frozen=True)
class Examples:
    """A query by what its hits should be like, and unlike.

    The query is the mean of the positive ones plus (that mean - the mean of the negative ones),
    each a unit vector where the metric is cosine (as "average_vector" of Qdrant's recommendations).
    """

    positive: Sequence[Example]
    negative: Sequence[Example] = ()


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        k: hits per query, or groups; default 10; with a threshold all that reach it, up to `max_k`.
        mode: how to search.
        dimension: trained prefix length; of the shortlist when `mode` is two-stage.
        shortlist: two-stage: how many are ranked again at the full length.
        breadth: candidates of a graph's walk, or lists of an IVF index.
        recall_target: share of the true neighbours, above 0 and at most 1; instead of `mode`,
            `shortlist` and `breadth`.
        budget_ms: time that the search may take; likewise.
        with_vectors: return the vectors too.
        model: embeds the queries; default the collection's own.
        space: of queries that are vectors.
        tenant: whose items.
        filter: as JSON, see `kokeshi.index.filters.filter_of`; None fits every item.
        query_ids: items as queries, after the queries given; never their own hits.
        examples: further queries, after those; never their own hits.
        exclude_ids: never hits.
        threshold: only hits that score at least this, or are at most this far.
        min_sequence: the search sees at least this write.
        group_by: a field of the metadata: `k` groups instead of `k` hits.
        group_size: most hits of a group.
        collapse: hits with a cosine of at least this to a better one are folded into it.
        page_token: of the answer to the same search.
    """

    k: int | None = None
    mode: SearchMode = SearchMode.AUTO
    dimension: int | None = None
    shortlist: int | None = None
    breadth: int | None = None
    recall_target: float | None = None
    budget_ms: float | None = None
    with_vectors: bool = False
    model: str = ""
    space: str = ""
    tenant: str = NO_TENANT
    filter: Mapping[str, Any] | None = None
    query_ids: Sequence[str] = ()
    examples: Sequence[Examples] = ()
    exclude_ids: Sequence[str] = ()
    threshold: float | None = None
    min_sequence: int = 0
    group_by: str = ""
    group_size: int | None = None
    collapse: float | None = None
    page_token: str = ""


class SearchWords(TypedDict, total=False):
    """The options of a search as keywords; see `SearchOptions`."""

    k: int | None
    mode: SearchMode
    dimension: int | None
    shortlist: int | None
    breadth: int | None
    recall_target: float | None
    budget_ms: float | None
    with_vectors: bool
    model: str
    space: str
    tenant: str
    filter: Mapping[str, Any] | None
    query_ids: Sequence[str]
    examples: Sequence[Examples]
    exclude_ids: Sequence[str]
    threshold: float | None
    min_sequence: int
    group_by: str
    group_size: int | None
    collapse: float | None
    page_token: str


@dataclass(frozen=True)
class Hit:
    """A neighbour; `collapsed_ids` are near-duplicates that it stands for."""

    id: str
    score: float
    metadata: Mapping[str, Any]
    vector: NDArray[np.float32] | None = None
    collapsed_ids: Sequence[str] = ()


@dataclass(frozen=True)
class Group:
    """Hits that share a value of a metadata field, best first."""

    value: str | int | float | bool
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Route:
    """What was searched, the length and the number of its candidates; see `kokeshi.index.Route`."""

    kind: str
    first: int
    shortlist: int = 0
    breadth: int = 0


@dataclass(frozen=True)
class RecallEstimate:
    """Share of the true neighbours that searches like this one found, and its 95 % interval."""

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class Found:
    """Answer of `search`: for each query its hits, best first.

    Attributes:
        groups: for each query, where groups were asked for; then `results` are empty.
        sequence: the last write that was seen.
        exact: no row could have been missed.
        proven_exact: likewise, though not every row was compared.
        recall_estimate: None where unknown.
        next_page_token: empty where there are no further hits, or the search has no pages.
    """

    results: Sequence[Sequence[Hit]]
    space: str
    dimension: int
    higher_is_better: bool
    groups: Sequence[Sequence[Group]] = ()
    sequence: int = 0
    exact: bool = False
    proven_exact: bool = False
    route: Route = Route("", 0)
    recall_estimate: RecallEstimate | None = None
    next_page_token: str = ""


@dataclass(frozen=True)
class Failed:
    """A call of a stream that failed; `code` names the gRPC status."""

    code: str
    message: str


class Stage(StrEnum):
    """Where an item left a search."""

    FOUND = "found"  # it did not
    NOT_STORED = "not_stored"  # this tenant has no such item
    FILTER = "filter"
    EXCLUDED = "excluded"
    THRESHOLD = "threshold"
    BELOW_K = "below_k"
    SHORTLIST = "shortlist"  # it belongs to the hits, but was no candidate


@dataclass(frozen=True)
class DimensionScore:
    """An item's score at a trained length, and its rank among all that may be found, from 1.

    The rank is None where more than `max_k` stand before it, or it may not be found.
    """

    dimension: int
    score: float
    rank: int | None


@dataclass(frozen=True)
class BlockScore:
    """What the values from `begin` to before `end` add to the full score.

    Parts of the cosine or of the inner product, or of the squared L2 distance.
    """

    begin: int
    end: int
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Where an item stands in a search; `rank` is among the hits, from 1."""

    stage: Stage
    rank: int | None
    route: Route
    higher_is_better: bool
    dimensions: Sequence[DimensionScore] = ()
    blocks: Sequence[BlockScore] = ()
    sequence: int = 0
