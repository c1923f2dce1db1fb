"""The store of embeddings as the service sees it: its records and its calls.

Nothing here knows SQLite or FAISS, so that a distributed engine can stand behind the same calls.
Calls block and may be made from many threads at once. What a store cannot do it declares
(`Capabilities`), and refuses with UnimplementedError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kokeshi.index.filters import Filter

Vector = npt.NDArray[np.float32]
Metric = Literal["cosine", "ip", "l2", "hyperbolic"]
IndexKind = Literal["auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"]
Durability = Literal["fsync", "os"]

NO_TENANT: Final = ""
MAX_TENANTS: Final = 1_000_000  # that a store names where the caller does not say


@dataclass(frozen=True)
class Capabilities:
    """What a store can do beyond keeping, finding and deleting by id.

    Attributes:
        metrics: of collections it takes.
        kinds: of indexes it can be told to build.
        filters: operators that it evaluates itself ("eq", "in", "range", "exists", "prefix", "geo",
            "and", "or", "not").
        durable: an acknowledgement means that the write is on a disk.
        read_your_writes: `SearchParams.min_seq` is obeyed.
        request_ids: a write that comes twice under one request id is stored once.
        exact: every row can be compared.
        snapshots: `backup` is there.
        atomic: a batch appears whole or not at all, whatever fails meanwhile.
        tenants: it can tell whose items it has.
    """

    metrics: frozenset[str]
    kinds: frozenset[str]
    filters: frozenset[str]
    durable: bool
    read_your_writes: bool
    request_ids: bool
    exact: bool
    snapshots: bool
    atomic: bool = True
    tenants: bool = True


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection holds; it never changes after the collection was made.

    Attributes:
        space: fingerprint of the embedding space, 16 hexadecimal digits.
        model: name of the model that made the space; informative.
        dimensions: trained prefix lengths, ascending, the full one last; () is the full one alone.
        metric: "cosine" normalises; "ip" is the inner product of vectors as given; "hyperbolic" is
            the distance in the Poincare ball of `curvature`, whose vectors lie inside it.
        index: "auto" chooses by size, dimensions and metric; the others pin: "flat" compares every
            row in float32, "codes" scans int8 prefixes and ranks a shortlist again (under "l2",
            which has no codes, float32 prefixes: that is told as "flat"), "hnsw" walks a graph over
            a prefix, "ivf" scans lists of RaBitQ codes, "panorama" is exact and gives up rows
            early, "gpu" compares every row in float16 on a GPU where there is one.
        durability: "fsync" acknowledges a write when it is on the disk, "os" when the operating
            system has it (safe against the process's death, not against power loss).
        graph_dimension: trained prefix that an HNSW graph is built on; None chooses.
        curvature: c of a ball of curvature -c, above 0; of "hyperbolic" only.
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
    curvature: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        """True for similarities, false for distances."""
        return self.metric in {"cosine", "ip"}

    @property
    def trained(self) -> tuple[int, ...]:
        """Lengths that may be searched, ascending, the full one last."""
        return self.dimensions or (self.dim,)


@dataclass(frozen=True, eq=False)
class Item:
    """One embedding: `vector` is (dim,) float32, `metadata` a JSON object.

    `vector` is None only in an answer that was asked for without vectors. `seq` is the write that
    stored it; the store gives it. `origin` is the fingerprint of the space of another model from
    which the vector was mapped; "" where it is of the collection's own.
    """

    id: str
    vector: Vector | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    origin: str = ""


class Hit(NamedTuple):
    """One neighbour; `score` is a similarity, larger nearer, or a distance, smaller nearer."""

    id: str
    score: float
    metadata: Mapping[str, Any]
    vector: Vector | None = None


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


@dataclass(frozen=True)
class Route:
    """How a search went, for `explain` and for the statistics of recall.

    Attributes:
        kind: "flat", "codes", "hnsw", "ivf", "panorama", "gpu", or a remote store's own word.
        first: length that candidates were taken at.
        shortlist: candidates per query that were ranked again; 0: none were.
        breadth: see `SearchParams`; 0: nothing was walked.
    """

    kind: str
    first: int
    shortlist: int = 0
    breadth: int = 0


@dataclass(frozen=True)
class RecallEstimate:
    """Share of the true neighbours that searches like this one found lately, in 0..1.

    Attributes:
        low: end of the 95 % interval.
        high: the other end.
        samples: searches that were repeated exactly; 0: every row was compared, recall is known.
    """

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, eq=False)
class Found:
    """Answer to a search.

    Attributes:
        hits: one tuple per query, best first; equal scores stand in the order of insertion.
        seq: the last write that the search saw.
        dimension: length that the scores were computed at.
        is_exact: true when every row was compared at that length, or bounds prove that none of the
            others could have been among the k (`is_proven`).
        route: how it went.
        is_proven: bounds of what was left out closed, for every query.
        recall: measured on searches that went the same way; None: none were yet.
    """

    hits: tuple[tuple[Hit, ...], ...]
    seq: int
    dimension: int
    is_exact: bool
    higher_is_better: bool
    route: Route = Route("flat", 0)
    is_proven: bool = False
    recall: RecallEstimate | None = None


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
        kind: what answers now, see `CollectionSpec.index`; never "auto".
        covered_seq: the last write in the index; newer rows are scanned beside it.
        tail: rows scanned beside the index.
        dead: deleted or replaced rows that the index still carries.
        memory_bytes: what searches need in memory, but for mapped files.
        cached_seq: the last write covered by the index file on disk; None without a file.
        quarantine: why the collection is not served; None when it is.
        mapped_bytes: files that are mapped, whose pages the system may drop.
        progress: of the index that is being built, 0 to 1; None: none is.
        tenants: that have items.
    """

    spec: CollectionSpec
    count: int
    seq: int
    kind: str
    covered_seq: int
    tail: int
    dead: int
    memory_bytes: int
    cached_seq: int | None
    quarantine: str | None
    mapped_bytes: int = 0
    progress: float | None = None
    tenants: int = 1

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
    InvalidRequestError. A tenant sees its own items and no other's; ids are unique in a tenant.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

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
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """Writes all items or none; an id that exists is replaced.

        Args:
            name: the collection.
            items: at least one, no id twice.
            space: fingerprint of the space that the vectors are in.
            request_id: a retry with the same id and items returns the first receipt.
            add_only: refuses ids that exist.
            tenant: whose items they are.

        Raises:
            SpaceMismatchError: the vectors are of another space.
            AlreadyExistsError: `add_only`, and an id exists.
            OverloadedError: the queue of writes or the disk is full.
        """

    def delete(
        self,
        name: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """Deletes items by id or by filter; an unknown id is no error and does not count.

        Args:
            name: the collection.
            ids: of items; None where a filter says which.
            filter: see `SearchParams`; None where ids are given.
            tenant: whose items.
        """

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
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
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Page:
        """A page of items, oldest first.

        An item that is not touched during a scroll is seen once; one that is replaced may be seen
        again, as its new self. A page that is not the last may hold fewer than `limit` items.
        """

    def count(self, name: str, *, filter: Filter | None = None, tenant: str = NO_TENANT) -> int:
        """Items that fit."""

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """How many items each tenant has, by name, ascending; "" is nobody's.

        Those without items are left out. Where there are more than `limit`, it is the store's
        affair which ones are told.

        Raises:
            UnimplementedError: the store does not know their names.
        """

    def stats(self) -> StoreStats:
        """Counters and sizes."""

    def close(self) -> None:
        """Finishes accepted writes and lets go of the data."""
