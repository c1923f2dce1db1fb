"""FAISS HNSW over all numbers, float32."""

from typing import Any

import faiss
from peers.faiss_base import FaissPeer
from peers.peer import Settings


class Contestant(FaissPeer):
    """See `FaissPeer`; the dial `ef` is efSearch."""

    def made(self, dim: int, settings: Settings) -> Any:
        index = faiss.IndexHNSWFlat(dim, settings["links"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = settings["construction"]
        return index

    def params(self, dial: dict[str, Any], selector: Any) -> Any:
        return faiss.SearchParametersHNSW(efSearch=dial["ef"], sel=selector)
