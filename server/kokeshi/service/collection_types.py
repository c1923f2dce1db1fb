"""Collections and their items: what the service is asked to keep, and what it tells of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.service.inputs import Input

NO_TENANT: Final = ""


@dataclass(frozen=True)
class CollectionLimits:
    """Sizes that calls of collections must keep; each is a setting.

    Attributes:
        max_ingest_batches: of one stream that are embedded or stored at once; the stream is not
            read while there are so many.
        max_stream_searches: of one stream that run at once; likewise.
        max_examples: of all queries of one search together.
        max_excluded: ids that a search may leave out.
        max_rounds: searches that one query may take to fill its groups.
        max_tenants: of one collection that are listed.
        store_threads: calls to the store that run at once, and as many more that are searches
            `at_once`; those that come together in a store that merges them each hold one.
    """

    max_ingest_batches: int = 4
    max_stream_searches: int = 32
    max_examples: int = 256
    max_excluded: int = 1000
    max_rounds: int = 8
    max_tenants: int = 10_000
    store_threads: int = 16


class OnConflict(StrEnum):
    """What to do about an id that exists."""

    FAIL = "fail"
    REPLACE = "replace"


@dataclass(frozen=True)
class NewItem:
    """Something to keep: `input` is embedded, unless it is a float32 (dim,) tensor."""

    id: str
    input: Input
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredItem:
    """Something kept; `origin` is the space that its vector was mapped from, or empty."""

    id: str
    metadata: Mapping[str, Any]
    sequence: int
    vector: NDArray[np.float32] | None = None
    origin: str = ""


@dataclass(frozen=True)
class ItemPage:
    """Part of a listing; an empty token says that it was the last."""

    items: Sequence[StoredItem]
    next_page_token: str


@dataclass(frozen=True)
class Tenant:
    """Whose items there are, and how many; the name of nobody is empty."""

    name: str
    count: int


@dataclass(frozen=True)
class Written:
    """Acknowledgement of a write: how many items, and its sequence number."""

    count: int
    sequence: int


@dataclass(frozen=True)
class Unreadable:
    """An item of a batch that no door could read: what was wrong with it."""

    id: str
    code: str
    message: str


@dataclass(frozen=True)
class IngestBatch:
    """Items from one place of a source, which `offset` names."""

    offset: int
    items: Sequence[NewItem | Unreadable]


@dataclass(frozen=True)
class IngestOptions:
    """What holds for all batches of a stream; see `Service.ingest`."""

    stream_id: str = ""
    tenant: str = NO_TENANT
    on_conflict: OnConflict = OnConflict.FAIL
    space: str = ""


@dataclass(frozen=True)
class ItemError:
    """Why an item of a batch was not stored; `code` names the gRPC status."""

    position: int
    id: str
    code: str
    message: str


@dataclass(frozen=True)
class Ingested:
    """Answer to one batch; a sequence of 0 says that nothing of it was stored."""

    offset: int
    sequence: int
    count: int
    errors: Sequence[ItemError] = ()


@dataclass(frozen=True)
class Alias:
    """Another name of a collection."""

    name: str
    collection: str


@dataclass(frozen=True)
class CollectionInfo:
    """A collection and its state; see `kokeshi.index.CollectionInfo`."""

    name: str
    model: str
    space: str
    dimension: int
    dimensions: Sequence[int]
    metric: str
    index: str  # as asked for
    durability: str  # "fsync", "os"
    count: int
    sequence: int
    indexed_sequence: int
    index_in_use: str
    tail: int = 0
    dead: int = 0
    memory_bytes: int = 0
    mapped_bytes: int = 0
    build_progress: float | None = None
    quarantine: str = ""
    tenants: int = 0
    curvature: float | None = None  # of the hyperbolic metric only
