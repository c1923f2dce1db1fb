"""The thresholds of the embedded store, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """Sizes at which the embedded store changes its ways.

    Attributes:
        hnsw_rows: an "auto" collection is flat below, HNSW from here on. An exact scan of this many
            512-float rows takes about 1.5 ms.
        tail_rows: rows scanned beside the index before it is rebuilt ...
        tail_share: ... or this share of the index, whichever is more.
        dead_share: share of deleted rows in the index at which it is rebuilt.
        hnsw_links: M of HNSW.
        ef_construction: candidates kept while a row is linked into the graph.
        ef_search: candidates kept while the graph is searched; never below twice k.
        queue_jobs: writes that may wait; more are refused.
        group_rows: rows that may share one commit.
        requests_kept: writes of a collection whose request ids are remembered.
    """

    hnsw_rows: int = 20_000
    tail_rows: int = 4096
    tail_share: float = 0.1
    dead_share: float = 0.2
    hnsw_links: int = 32
    ef_construction: int = 128
    ef_search: int = 128
    queue_jobs: int = 1024
    group_rows: int = 10_000
    requests_kept: int = 100_000
