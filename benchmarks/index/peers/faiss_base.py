"""FAISS, with its threads set where it searches: it keeps their number per calling thread."""

import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from peers.peer import Batching, K, Settings, Vectors, shares_of

CORES = len(os.sched_getaffinity(0))


class FaissPeer(Batching):
    """See `Peer`. Dials: `threads` of a search (None: FAISS's own choice) and those of `params`."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        faiss.omp_set_num_threads(CORES)
        self.index = self.made(rows.shape[1], settings)
        # as one call: FAISS orders the rows of a call for its threads
        self.index.add(np.ascontiguousarray(rows))
        self.shares = shares_of(settings, len(rows))
        faiss.write_index(self.index, str(folder / "faiss"))
        return {"index_bytes": (folder / "faiss").stat().st_size}

    @abstractmethod
    def made(self, dim: int, settings: Settings) -> Any:
        """The empty index."""

    def open(self, folder: Path, settings: Settings) -> None:
        self.index = faiss.read_index(str(folder / "faiss"))
        self.shares = shares_of(settings, self.index.ntotal)

    def params(self, dial: dict[str, Any], selector: Any) -> Any:
        """FAISS's record of a dial."""
        return faiss.SearchParameters(sel=selector) if selector is not None else None

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        search = self.batcher(dial)
        return lambda query: search(query[None])[0]

    def batcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[Sequence[int]]]:
        selector, kept = self._selector(dial.get("below"))
        params = self.params(dial, selector)
        threads, seen = dial.get("threads"), threading.local()

        def find(queries: Vectors, kept: Any = kept) -> Any:  # `kept` lives as long as this
            if threads is not None and not hasattr(seen, "is_set"):
                faiss.omp_set_num_threads(threads)
                seen.is_set = True
            return self.index.search(queries, K, params=params)[1]

        return find

    def _selector(self, below: int | None) -> tuple[Any, Any]:
        if below is None:
            return None, None
        mask = np.packbits(self.shares < below, bitorder="little")
        return faiss.IDSelectorBitmap(mask), mask

    def tell(self) -> dict[str, Any]:
        return {"version": faiss.__version__}
