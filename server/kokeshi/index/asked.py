"""What a search asks for beside its queries."""

from dataclasses import dataclass

from kokeshi.index.filters import Filter
from kokeshi.index.items import NO_TENANT


@dataclass(frozen=True)
class Shortlist:
    """Candidates that are ranked by the full length: `rows` of them, taken by a prefix."""

    dimension: int
    rows: int


@dataclass(frozen=True)
class SearchParams:
    """How to search.

    Attributes:
        k: most neighbours of a query.
        dimension: trained prefix length; None is the full one. Without `rerank`, neighbours and
            scores are those of the prefix.
        rerank: takes a shortlist by the prefix (None: a default one), then orders it by the full
            length; scores are those of the full length.
        shortlist: rows that the first stage of `rerank` hands on; None is a generous default.
        breadth: candidates that a walk over a graph keeps (efSearch), or lists of an IVF index that
            are scanned (nprobe); None is the index's own.
        exact: scans every row; never a graph, never a shortlist.
        filter: only items whose metadata fit; k of them are found where k exist.
        tenant: only items of this tenant.
        threshold: only items that score at least this, or are at most this far.
        min_seq: the search sees at least this write, or fails with UnavailableError after a while.
    """

    k: int = 10
    dimension: int | None = None
    rerank: bool = False
    shortlist: int | None = None
    exact: bool = False
    with_vectors: bool = False
    breadth: int | None = None
    filter: Filter | None = None
    tenant: str = NO_TENANT
    threshold: float | None = None
    min_seq: int = 0
