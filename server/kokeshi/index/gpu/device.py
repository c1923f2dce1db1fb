"""The only code that calls FAISS's GPU classes, for one GPU and on one thread."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.gpu.faults import is_out_of_memory
from kokeshi.index.kernels.engine import load_faiss
from kokeshi.index.store import Vector

MOST_NEIGHBOURS: Final = 2048  # of a query, by FAISS's own selection on a GPU

Labels = npt.NDArray[np.int64]


class Device:
    """A GPU with rows in float16.

    FAISS's GPU indexes are not safe to call from two threads, not even to search: whoever makes a
    device is the only one to call it.
    """

    def __init__(self, number: int, scratch_bytes: int) -> None:
        self._number = number
        self._resources = load_faiss().StandardGpuResources()
        self._resources.setTempMemory(scratch_bytes)
        self._indexes: dict[int, Any] = {}

    def add(self, shard: int, rows: Vector, metric: int) -> None:
        """Holds rows (n, length) float32 under a new number, by one allocation.

        Raises:
            RuntimeError: see `is_out_of_memory`.
        """
        faiss = load_faiss()
        config = faiss.GpuIndexFlatConfig()
        config.device, config.useFloat16 = self._number, True
        index = faiss.GpuIndexFlat(self._resources, rows.shape[1], metric, config)
        index.add(rows)
        self._indexes[shard] = index

    def drop(self, shard: int) -> None:
        """Frees rows, where they are there."""
        self._indexes.pop(shard, None)

    def search(self, shard: int, queries: Vector, k: int) -> tuple[Vector, Labels]:
        """Nearest rows of each query: what FAISS answers, dead rows and all.

        A selector is never passed: FAISS without cuVS takes one and does not look at it. Where
        memory does not do for all queries, they go by halves.

        Raises:
            RuntimeError: the GPU failed, or its memory does not do for one query.
        """
        assert k <= MOST_NEIGHBOURS
        try:
            scores, labels = self._indexes[shard].search(queries, k)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(queries) == 1:
                raise
        else:
            return scores, labels
        half = len(queries) // 2
        first, second = self.search(shard, queries[:half], k), self.search(shard, queries[half:], k)
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
