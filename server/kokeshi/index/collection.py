"""A collection in memory: its published snapshot, and how writes and new indexes reach it."""

import threading
from dataclasses import replace

import numpy as np

from kokeshi.errors import UnavailableError
from kokeshi.index.faiss_index import Base
from kokeshi.index.geometry import Block, Geometry, Rows
from kokeshi.index.snapshot import Snapshot, Tail, all_live
from kokeshi.index.store import CollectionInfo, CollectionSpec
from kokeshi.index.tuning import Tuning


class Collection:
    """One collection. `number` is its key in the database; numbers never come back."""

    def __init__(self, number: int, spec: CollectionSpec, seq: int = 0) -> None:
        self.number = number
        self.spec = spec
        self.geometry = Geometry.of(spec)
        self.cached_seq: int | None = None
        self.quarantine: str | None = None
        self.is_dropped = False
        self._tail = Tail(self.geometry)
        self._snapshot = Snapshot(seq, self.geometry.empty())
        self._changing = threading.Lock()

    @property
    def snapshot(self) -> Snapshot:
        """The newest published state."""
        return self._snapshot

    def check_serving(self) -> None:
        """Refuses a collection in quarantine."""
        if self.quarantine:
            raise UnavailableError(
                f"collection {self.spec.name!r} is in quarantine: {self.quarantine}"
            )

    def apply(self, seq: int, added: Block | None, removed: Rows) -> None:
        """Publishes a committed write."""
        with self._changing:
            snapshot = self._snapshot.without(removed)
            tail = snapshot.tail if added is None else self._tail.append(added)
            self._snapshot = replace(snapshot, seq=seq, tail=tail)

    def adopt(self, base: Base, built_from: Snapshot) -> None:
        """Publishes an index built from an earlier snapshot; what came later stays beside it."""
        last = built_from.tail.rows[-1] if len(built_from.tail) else -1
        with self._changing:
            now = self._snapshot
            newer = now.tail.part(now.tail.rows > last)
            self._tail = Tail(self.geometry)
            fresh = Snapshot(now.seq, self._tail.append(newer), base, live_bits=_bits(base))
            self._snapshot = fresh.without(now.dead_rows())

    def restore(self, base: Base, seq: int, live: Rows) -> None:
        """Publishes an index from a file, less the rows that have gone since it was written."""
        gone = np.setdiff1d(base.block.rows, live, assume_unique=True)
        with self._changing:
            fresh = Snapshot(seq, self.geometry.empty(), base, live_bits=_bits(base))
            self._snapshot = fresh.without(gone)

    def wants_graph(self, tuning: Tuning) -> bool:
        """True when the next index should be HNSW."""
        kind, count = self.spec.index, self._snapshot.count
        return count > 0 and (kind == "hnsw" or (kind == "auto" and count >= tuning.hnsw_rows))

    def wants_build(self, tuning: Tuning) -> bool:
        """True when the tail or the dead have grown past their thresholds."""
        now = self._snapshot
        if self.quarantine or self.is_dropped:
            return False
        base_rows = len(now.base.block) if now.base else 0
        tail_limit = max(tuning.tail_rows, int(tuning.tail_share * base_rows))
        if len(now.tail) > tail_limit or self.has_many_dead(now, tuning):
            return True
        has_graph = now.base is not None and now.base.graph is not None
        return base_rows > 0 and self.wants_graph(tuning) and not has_graph

    @staticmethod
    def has_many_dead(now: Snapshot, tuning: Tuning) -> bool:
        """True when an index should be built afresh, not extended."""
        return now.base is not None and len(now.base_dead) > tuning.dead_share * len(now.base.block)

    def info(self) -> CollectionInfo:
        """See `CollectionInfo`."""
        now = self._snapshot
        base = now.base
        return CollectionInfo(
            spec=self.spec,
            count=now.count,
            seq=now.seq,
            kind="hnsw" if base and base.graph is not None else "flat",
            covered_seq=base.seq if base else 0,
            tail=len(now.tail),
            dead=now.dead,
            memory_bytes=now.tail.memory_bytes + (base.block.memory_bytes if base else 0),
            cached_seq=self.cached_seq,
            quarantine=self.quarantine,
        )


def _bits(base: Base) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return all_live(len(base.block))
