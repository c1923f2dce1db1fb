"""The store of embeddings as the service sees it: its records and its eleven calls.

Nothing here knows SQLite or FAISS, so that a distributed engine can stand behind the same calls.
Calls block and may be made from many threads at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Metric = Literal["cosine", "l2"]
IndexKind = Literal["auto", "flat", "hnsw"]
Durability = Literal["fsync", "os"]


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection holds; it never changes after the collection was made.

    Attributes:
        space: fingerprint of the embedding space, 16 hexadecimal digits.
        model: name of the model that made the space; informative.
        dimensions: trained prefix lengths, ascending, the full one last; () is the full one alone.
        index: "auto" is flat while small and HNSW when large.
        durability: "fsync" acknowledges a write when it is on the disk, "os" when the operating
            system has it (safe against the process's death, not against power loss).
        graph_dimension: trained prefix that an HNSW graph is built on; None is the full length.
    """

    name: str
    space: str
    dim: int
    model: str = ""
    dimensions: tuple[int, ...] = ()
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    durability: Durability = "fsync"
    graph_dimension: int | None = None

    @property
    def higher_is_better(self) -> bool:
        """True for cosine similarity in [-1, 1], false for L2 distance."""
        return self.metric == "cosine"

    @property
    def trained(self) -> tuple[int, ...]:
        """Lengths that may be searched, ascending, the full one last."""
        return self.dimensions or (self.dim,)


@dataclass(frozen=True, eq=False)
class Item:
    """One embedding: `vector` is (dim,) float32, `metadata` a JSON object.

    `vector` is None only in an answer that was asked for without vectors. `seq` is the write that
    stored it; the store gives it.
    """

    id: str
    vector: Vector | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


@dataclass(frozen=True, eq=False)
class Hit:
    """One neighbour; `score` is cosine similarity in [-1, 1], or L2 distance, smaller nearer."""

    id: str
    score: float
    metadata: Mapping[str, Any]
    vector: Vector | None = None


@dataclass(frozen=True)
class SearchParams:
    """How to search.

    Attributes:
        dimension: trained prefix length; None is the full one. Without `rerank`, neighbours and
            scores are those of the prefix.
        rerank: takes a shortlist by the prefix (None: a default one), then orders it by the full
            length; scores are those of the full length.
        shortlist: rows that the first stage of `rerank` hands on; None is a generous default.
        exact: scans every row; never a graph, never a shortlist.
    """

    k: int = 10
    dimension: int | None = None
    rerank: bool = False
    shortlist: int | None = None
    exact: bool = False
    with_vectors: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """Answer to a search.

    Attributes:
        hits: one tuple per query, best first; equal scores stand in the order of insertion.
        seq: the last write that the search saw.
        dimension: length that the scores were computed at.
        is_exact: true when every row was compared at that length.
    """

    hits: tuple[tuple[Hit, ...], ...]
    seq: int
    dimension: int
    is_exact: bool
    higher_is_better: bool


@dataclass(frozen=True)
class Receipt:
    """Acknowledgement of a write: searches whose `seq` is at least this one see it.

    Attributes:
        count: rows written, or rows that a delete found.
        is_fsynced: the write is on the disk, not only with the operating system.
    """

    seq: int
    count: int
    is_fsynced: bool


@dataclass(frozen=True, eq=False)
class Page:
    """One page of a scroll; `cursor` asks for the next one and is None after the last."""

    items: tuple[Item, ...]
    cursor: str | None


@dataclass(frozen=True)
class CollectionInfo:
    """A collection and the state of its index.

    Attributes:
        seq: the last write.
        kind: what answers now: "flat" (an exact scan) or "hnsw".
        covered_seq: the last write in the index; newer rows are scanned beside it.
        tail: rows scanned beside the index.
        dead: deleted or replaced rows that the index still carries.
        memory_bytes: vectors and their norms in memory, without the graph's links.
        cached_seq: the last write covered by the index file on disk; None without a file.
        quarantine: why the collection is not served; None when it is.
    """

    spec: CollectionSpec
    count: int
    seq: int
    kind: Literal["flat", "hnsw"]
    covered_seq: int
    tail: int
    dead: int
    memory_bytes: int
    cached_seq: int | None
    quarantine: str | None

    @property
    def higher_is_better(self) -> bool:
        """See `CollectionSpec.higher_is_better`."""
        return self.spec.higher_is_better


@dataclass(frozen=True)
class StoreStats:
    """Counters since the start, and sizes now, for the metrics page."""

    collections: int
    items: int
    writes: int
    commits: int
    index_builds: int
    cache_rejections: int
    database_bytes: int
    wal_bytes: int
    is_writable: bool


class Store(Protocol):
    """Collections of embeddings.

    Every call that names a collection raises CollectionNotFoundError for an unknown one and
    UnavailableError for one in quarantine; arguments that can never be right raise
    InvalidRequestError.
    """

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """Makes a collection.

        Raises:
            AlreadyExistsError: the name is taken.
        """

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """Makes a collection, or finds the one that is there already.

        Raises:
            SpaceMismatchError: it is there with vectors of another space.
            AlreadyExistsError: it is there with other settings.
        """

    def drop(self, name: str) -> None:
        """Removes a collection and all that it holds; one in quarantine too."""

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name; those in quarantine too."""

    def describe(self, name: str) -> CollectionInfo:
        """One collection; one in quarantine too."""

    def upsert(
        self,
        name: str,
        items: Sequence[Item],
        *,
        space: str,
        request_id: str | None = None,
        add_only: bool = False,
    ) -> Receipt:
        """Writes all items or none; an id that exists is replaced.

        Args:
            name: the collection.
            items: at least one, no id twice.
            space: fingerprint of the space that made the vectors.
            request_id: a retry with the same id and items returns the first receipt.
            add_only: refuses ids that exist.

        Raises:
            SpaceMismatchError: the vectors are of another space.
            AlreadyExistsError: `add_only`, and an id exists.
            OverloadedError: the queue of writes or the disk is full.
        """

    def delete(self, name: str, ids: Sequence[str]) -> Receipt:
        """Deletes items; an unknown id is no error and does not count."""

    def get(self, name: str, ids: Sequence[str], *, with_vectors: bool = False) -> list[Item]:
        """Items in the order of `ids`, vectors with the bytes that were given.

        Raises:
            ItemNotFoundError: an id is unknown.
        """

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """Nearest items of each query, at most `params.k` of them.

        Args:
            name: the collection.
            vectors: (queries, dim), or (queries, params.dimension) when cut already.
            params: how to search.
            space: fingerprint of the space that made the queries.

        Raises:
            SpaceMismatchError: the queries are of another space.
            DimensionError: the prefix length was not trained.
        """

    def scroll(
        self,
        name: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> Page:
        """A page of items, oldest first.

        An item that is not touched during a scroll is seen once; one that is replaced may be seen
        again, as its new self.
        """

    def stats(self) -> StoreStats:
        """Counters and sizes."""

    def close(self) -> None:
        """Finishes accepted writes and lets go of the data."""
