"""LanceDB in this process."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from peers.peer import Ingesting, K, Searching, Settings, Vectors, shares_of

NAME = "benchmark"
BATCH = 10_000
ROWS_PER_PARTITION = 1_000_000  # as its documentation has it for HNSW


class Contestant(Searching, Ingesting):
    """See `Peer`. The setting `index` is "" or "IVF_HNSW_SQ"; dials `ef` and `refine`."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        shares = shares_of(settings, len(rows))
        start = time.perf_counter()
        first = _batch(rows[:BATCH], shares, 0)
        self.table = lancedb.connect(folder / "lance").create_table(NAME, first)
        for begin in range(BATCH, len(rows), BATCH):
            self.table.add(_batch(rows[begin : begin + BATCH], shares, begin))
        ingest_s = time.perf_counter() - start
        self.table.optimize()
        self.table.create_scalar_index("share")
        if settings["index"]:
            self.table.create_index(
                metric="dot",
                index_type=settings["index"],
                num_partitions=max(1, len(rows) // ROWS_PER_PARTITION),
                m=settings["links"],
                ef_construction=settings["construction"],
            )
        return {"ingest_s": round(ingest_s, 3)}

    def open(self, folder: Path, settings: Settings) -> None:
        self.table = lancedb.connect(folder / "lance").open_table(NAME)

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        def find(query: Vectors) -> Sequence[int]:
            search = (
                self.table.search(query).distance_type("dot").limit(K).select(["id", "_distance"])
            )
            if "ef" in dial:
                search = search.ef(dial["ef"]).refine_factor(dial["refine"])
            if "below" in dial:
                search = search.where(f"share < {dial['below']}", prefilter=True)
            return search.to_arrow()["id"].to_pylist()

        return find

    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        shares = shares_of(settings, len(rows))
        schema = _batch(rows[:1], shares, 0).schema
        table = lancedb.connect(folder / "lance").create_table(NAME, schema=schema)
        seconds = []
        for first in range(0, len(rows), size):
            batch = _batch(rows[first : first + size], shares, first)
            start = time.perf_counter()
            table.add(batch)
            seconds.append(time.perf_counter() - start)
        return seconds


def _batch(rows: Vectors, shares: Sequence[int], first: int) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(rows).ravel())
    return pa.table(
        {
            "id": np.arange(first, first + len(rows)),
            "vector": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
            "share": np.asarray(shares[first : first + len(rows)]),
        }
    )
