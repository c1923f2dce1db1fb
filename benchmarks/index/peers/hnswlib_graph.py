"""hnswlib."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from peers.peer import K, Searching, Settings, Vectors


class Contestant(Searching):
    """See `Peer`; the dial `ef` is its ef."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self.index = hnswlib.Index(space="ip", dim=rows.shape[1])
        self.index.init_index(
            max_elements=len(rows), M=settings["links"], ef_construction=settings["construction"]
        )
        self.index.add_items(np.ascontiguousarray(rows), num_threads=len(os.sched_getaffinity(0)))
        self.index.save_index(str(folder / "hnswlib"))
        return {"index_bytes": (folder / "hnswlib").stat().st_size}

    def open(self, folder: Path, settings: Settings) -> None:
        self.index = hnswlib.Index(space="ip", dim=settings["lengths"][-1])
        self.index.load_index(str(folder / "hnswlib"))

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        self.index.set_ef(dial["ef"])
        return lambda query: self.index.knn_query(query, K, num_threads=1)[0][0]
