"""usearch; the setting `dtype` says what it stores."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import Batching, K, Settings, Vectors
from usearch.index import Index


class Contestant(Batching):
    """See `Peer`; the dial `ef` is expansion_search."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self.index = Index(
            ndim=rows.shape[1],
            metric="ip",
            dtype=settings["dtype"],
            connectivity=settings["links"],
            expansion_add=settings["construction"],
        )
        self.index.add(np.arange(len(rows)), np.ascontiguousarray(rows), threads=0)
        self.index.save(str(folder / "usearch"))
        self.turning = threading.Lock()
        return {"index_bytes": (folder / "usearch").stat().st_size}

    def open(self, folder: Path, settings: Settings) -> None:
        self.index = Index.restore(str(folder / "usearch"), view=False)
        self.turning = threading.Lock()

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        with self.turning:
            self.index.expansion_search = dial["ef"]
        return lambda query: self.index.search(query, K, threads=1).keys

    def batcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[Sequence[int]]]:
        self.index.expansion_search = dial["ef"]
        return lambda queries: self.index.search(queries, K, threads=0).keys
