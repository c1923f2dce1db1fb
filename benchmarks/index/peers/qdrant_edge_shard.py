"""Qdrant Edge: Qdrant's engine in this process. No server was run."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from peers.peer import Ingesting, K, Searching, Settings, Vectors, shares_of

BATCH = 1000
INDEXED_KB = 1000


class Contestant(Searching, Ingesting):
    """See `Peer`. Dials: `ef`, `exact`. The setting `optimise` builds the graph."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self._create(folder, settings)
        shares = shares_of(settings, len(rows))
        start = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            self.shard.update(_upsert(rows[first : first + BATCH], shares, first))
        self.shard.flush()
        ingest_s = time.perf_counter() - start
        if settings.get("optimise", True):
            self.shard.optimize()
        self.shard.flush()
        return {"ingest_s": round(ingest_s, 3)}

    def _create(self, folder: Path, settings: Settings) -> None:
        place = folder / "shard"
        place.mkdir()
        graph = edge.HnswIndexConfig(
            m=settings["links"],
            ef_construct=settings["construction"],
            full_scan_threshold=INDEXED_KB,
            max_indexing_threads=len(os.sched_getaffinity(0)),
        )
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(settings["lengths"][-1], edge.Distance.Dot),
            hnsw_config=graph,
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEXED_KB),
            max_search_threads=len(os.sched_getaffinity(0)),
        )
        self.shard = edge.EdgeShard.create(str(place), config)
        self.shard.update(
            edge.UpdateOperation.create_field_index("share", edge.PayloadSchemaType.Integer)
        )

    def open(self, folder: Path, settings: Settings) -> None:
        self.shard = edge.EdgeShard.load(str(folder / "shard"))

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        params = edge.SearchParams(hnsw_ef=dial.get("ef"), exact=dial.get("exact", False))
        wanted = None
        if "below" in dial:
            least = edge.RangeFloat(lt=dial["below"])
            wanted = edge.Filter(must=[edge.FieldCondition("share", range=least)])

        def find(query: Vectors) -> Sequence[int]:
            nearest = edge.Query.Nearest(query.tolist())
            request = edge.SearchRequest(nearest, K, filter=wanted, params=params)
            return [hit.id for hit in self.shard.search(request)]

        return find

    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        self._create(folder, settings)
        shares = shares_of(settings, len(rows))
        seconds = []
        for first in range(0, len(rows), size):
            batch = _upsert(rows[first : first + size], shares, first)
            start = time.perf_counter()
            self.shard.update(batch)
            self.shard.flush()  # its log is written to the disk only now and then
            seconds.append(time.perf_counter() - start)
        return seconds

    def close(self) -> None:
        self.shard.close()


def _upsert(rows: Vectors, shares: Sequence[int], first: int) -> Any:
    points = [
        edge.Point(first + number, row.tolist(), {"share": int(shares[first + number])})
        for number, row in enumerate(rows)
    ]
    return edge.UpdateOperation.upsert_points(points)
