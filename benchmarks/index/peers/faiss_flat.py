"""FAISS IndexFlatIP."""

from typing import Any

import faiss
from peers.faiss_base import FaissPeer
from peers.peer import Settings


class Contestant(FaissPeer):
    """See `FaissPeer`; the dial `blas` sets from how many multiplications on a matrix product is
    used."""

    def made(self, dim: int, settings: Settings) -> Any:
        return faiss.IndexFlatIP(dim)

    def params(self, dial: dict[str, Any], selector: Any) -> Any:
        if "blas" in dial:
            faiss.cvar.distance_compute_blas_threshold = dial["blas"]
        return super().params(dial, selector)
