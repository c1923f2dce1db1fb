"""CAGRA: a graph over rows that cuVS builds and walks on a GPU (Ootomo et al., 2023).

Rows and queries go in float16 and under L2 alone: FAISS's own test of CAGRA with inner products in
float16 is switched off, because the search deadlocked.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.items import Vector
from kokeshi.index.kernels.engine import load_faiss

GRAPH_DEGREE: Final = 64  # links of a row: FAISS's default
FIRST_DEGREE: Final = 128  # links before the least useful are dropped: FAISS's default
MOST_WALKED: Final = 1024  # neighbours of a query: cuVS's last selection takes no more
KEPT_STEP: Final = 32  # cuVS keeps a multiple of this many candidates
TRIED_ROWS: Final = 32  # that a new graph is searched for

Labels = npt.NDArray[np.int64]


def built(resources: Any, number: int, rows: Vector) -> Any:  # noqa: ANN401 - FAISS is untyped
    """A graph over rows (n, length) float32, on the GPU of that number.

    It is searched at once: where memory does not do for the rows, cuVS keeps the links alone, and
    only a search says so.

    Raises:
        RuntimeError: FAISS or cuVS failed, or a walk finds nothing.
    """
    faiss = load_faiss()
    config = faiss.GpuIndexCagraConfig()
    config.device = number
    config.graph_degree, config.intermediate_graph_degree = GRAPH_DEGREE, FIRST_DEGREE
    index = faiss.GpuIndexCagra(resources, rows.shape[1], faiss.METRIC_L2, config)
    index.add(rows, numeric_type=faiss.Float16)
    _, labels = walked(index, rows[:TRIED_ROWS], 1, 0, None)
    if not np.all((labels >= 0) & (labels < len(rows))):
        raise RuntimeError("a walk through the new graph finds nothing")
    return index


def walked(
    index: Any,  # noqa: ANN401 - FAISS is untyped
    queries: Vector,
    k: int,
    breadth: int,
    selector: Any,  # noqa: ANN401 - FAISS is untyped
) -> tuple[Vector, Labels]:
    """Squared distances and labels of near rows; -1 where fewer were found.

    Args:
        index: made by `built`.
        queries: (n, length) float32.
        k: at most `MOST_WALKED`.
        breadth: candidates kept while walking, never below k.
        selector: rows that may be found; None: all. It must live until the search is over.
    """
    faiss = load_faiss()
    kept = -(-max(k, breadth) // KEPT_STEP) * KEPT_STEP
    # only a walk by several blocks keeps more where rows are forbidden
    way = faiss.search_algo_AUTO if selector is None else faiss.search_algo_MULTI_CTA
    params = faiss.SearchParametersCagra(itopk_size=kept, algo=way, sel=selector)
    scores, labels = index.search(queries, k, params=params, numeric_type=faiss.Float16)
    return scores, labels
