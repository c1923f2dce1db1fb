"""What a store tells of its collections and of itself, now."""

from dataclasses import dataclass

from kokeshi.index.spec import CollectionSpec


@dataclass(frozen=True)
class CollectionInfo:
    """A collection and the state of its index.

    Attributes:
        seq: the last write.
        kind: what answers a plain search now, see `CollectionSpec.index`; never "auto".
        covered_seq: the last write in the index; newer rows are scanned beside it.
        tail: rows scanned beside the index.
        dead: deleted or replaced rows that the index still carries.
        memory_bytes: what searches need in memory, but for mapped files.
        cached_seq: the last write covered by the index file on disk; None without a file.
        quarantine: why the collection is not served; None when it is.
        mapped_bytes: files that are mapped, whose pages the system may drop.
        progress: of the index that is being built, 0 to 1; None: none is.
        tenants: that have items; of a store that does not count them, 1 where there are any.
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
    tenants: int = 0

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
