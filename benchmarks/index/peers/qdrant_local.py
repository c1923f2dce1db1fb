"""qdrant-client's local mode: NumPy in this process."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import K, Searching, Settings, Vectors, shares_of
from qdrant_client import QdrantClient, models

NAME = "benchmark"


class Contestant(Searching):
    """See `Peer`; it scans every row."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self.open(folder, settings)
        size = models.VectorParams(size=rows.shape[1], distance=models.Distance.DOT)
        self.client.create_collection(NAME, size)
        start = time.perf_counter()
        self.client.upload_collection(
            NAME,
            np.array(rows),
            payload=[{"share": int(share)} for share in shares_of(settings, len(rows))],
            ids=range(len(rows)),
        )
        return {"ingest_s": round(time.perf_counter() - start, 3)}

    def open(self, folder: Path, settings: Settings) -> None:
        warnings.simplefilter("ignore")  # it advises against so many rows
        self.client = QdrantClient(path=str(folder / "local"), force_disable_check_same_thread=True)

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        def find(query: Vectors) -> Sequence[int]:
            return [hit.id for hit in self.client.query_points(NAME, query, limit=K).points]

        return find

    def close(self) -> None:
        self.client.close()
