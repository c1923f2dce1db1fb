"""The only code that calls FAISS's GPU classes, with `cagra`: for one GPU and on one thread."""

import logging
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kokeshi.index.gpu import cagra
from kokeshi.index.gpu.cagra import Labels
from kokeshi.index.gpu.faults import is_out_of_memory
from kokeshi.index.items import Vector
from kokeshi.index.kernels.engine import load_faiss

logger = logging.getLogger(__name__)

MOST_NEIGHBOURS: Final = 2048  # of a query, by FAISS's own selection on a GPU

Bits = npt.NDArray[np.uint8]  # one for each row


class Gpu(NamedTuple):
    """A GPU that works, and what was seen of it.

    Attributes:
        number: FAISS's.
        selects: its answers hold to a selector.
        walks: its graphs do so too, and find what is near.
    """

    number: int
    selects: bool = False
    walks: bool = False


class Device:
    """A GPU with rows in float16.

    FAISS's GPU indexes are not safe to call from two threads, not even to search: whoever makes a
    device is the only one to call it.
    """

    def __init__(self, gpu: Gpu, scratch_bytes: int) -> None:
        self._gpu = gpu
        self._walks = gpu.walks  # until a graph could not be built
        self._resources = load_faiss().StandardGpuResources()
        self._resources.setTempMemory(scratch_bytes)
        self._flats: dict[int, Any] = {}
        self._graphs: dict[int, Any] = {}

    def add(self, shard: int, rows: Vector, *, is_l2: bool, is_graph: bool = False) -> bool:
        """Holds rows (n, length) float32 under a new number; whether as a graph, as was wished.

        Raises:
            RuntimeError: see `is_out_of_memory`.
        """
        assert is_l2 or not is_graph
        graph = self._graph(rows) if is_graph and self._walks else None
        if graph is None:
            self._flats[shard] = self._flat(rows, is_l2)
        else:
            self._graphs[shard] = graph
        return graph is not None

    def drop(self, shard: int) -> None:
        """Frees rows, where they are there."""
        self._flats.pop(shard, None)
        self._graphs.pop(shard, None)

    def search(
        self, shard: int, queries: Vector, k: int, allowed: Bits | None = None, breadth: int = 0
    ) -> tuple[Vector, Labels]:
        """Nearest rows of each query: what FAISS answers, dead rows and labels of no row and all.

        `allowed` is for a GPU that was seen to hold to it: FAISS without cuVS takes a selector and
        does not look at it. `breadth` is for graphs. Where memory does not do for all queries, they
        go by halves.

        Raises:
            RuntimeError: the GPU failed, or its memory does not do for one query.
        """
        try:
            return self._search(shard, queries, k, allowed, breadth)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(queries) == 1:
                raise
        half = len(queries) // 2
        first, second = (
            self.search(shard, some, k, allowed, breadth)
            for some in (queries[:half], queries[half:])
        )
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])

    def _flat(self, rows: Vector, is_l2: bool) -> Any:  # noqa: ANN401 - FAISS is untyped
        """Rows that are all compared, by one allocation."""
        faiss = load_faiss()
        config = faiss.GpuIndexFlatConfig()
        config.device, config.useFloat16 = self._gpu.number, True
        config.use_cuvs = self._gpu.selects  # FAISS's own code has no selectors
        metric = faiss.METRIC_L2 if is_l2 else faiss.METRIC_INNER_PRODUCT
        index = faiss.GpuIndexFlat(self._resources, rows.shape[1], metric, config)
        index.add(rows)
        return index

    def _graph(self, rows: Vector) -> Any:  # noqa: ANN401 - FAISS is untyped
        """A graph; None where none can be built, whatever the reason: the rows are compared."""
        try:
            return cagra.built(self._resources, self._gpu.number, rows)
        except Exception as error:
            self._walks = False
            logger.warning(
                "GPU %d builds no graphs until the next start, its rows are all compared: %s",
                self._gpu.number,
                error,
            )
            return None

    def _search(
        self, shard: int, queries: Vector, k: int, allowed: Bits | None, breadth: int
    ) -> tuple[Vector, Labels]:
        # the bits must outlive the selector, and the selector the search
        selector = None if allowed is None else load_faiss().IDSelectorBitmap(allowed)
        graph = self._graphs.get(shard)
        if graph is not None:
            return cagra.walked(graph, queries, k, breadth, selector)
        assert k <= MOST_NEIGHBOURS
        params = None if selector is None else load_faiss().SearchParameters(sel=selector)
        scores, labels = self._flats[shard].search(queries, k, params=params)
        return scores, labels
