"""Inner products of rows and queries on the calling thread, as fast as memory delivers the rows.

NumPy's products of large matrices would start the threads of BLAS, which wait in a loop for work
and take the cores from ours. Both ways here stay on one thread and change no global setting:
`vecdot` calls BLAS's dot for each row, which also reads faster than its matrix-vector product; and
a stack of products, each below the size at which OpenBLAS thinks of threads.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kokeshi.index.items import Vector

CACHED_BYTES: Final = 256 * 2**10  # rows of one pass over several queries: they stay in L2
# Multiplications of one product: OpenBLAS stays on one thread up to here, see its interface/gemm.c.
SINGLE_THREADED: Final = 65_536 * 4
QUERIES_PER_PRODUCT: Final = 16


def dots(rows: Vector, queries: Vector) -> Vector:
    """Inner products (queries, n) float32.

    Args:
        rows: (n, length) float32, contiguous along each row: it may be a view of first columns.
        queries: (queries, length) float32.
    """
    scores = np.empty((len(queries), len(rows)), np.float32)
    if len(queries) == 1:
        np.vecdot(rows, queries[0], out=scores[0])
        return scores
    step = max(1, CACHED_BYTES // max(1, 4 * rows.shape[1]))
    for start in range(0, len(rows), step):
        for first in range(0, len(queries), QUERIES_PER_PRODUCT):
            chosen = slice(first, first + QUERIES_PER_PRODUCT)
            products = _stacked(rows[start : start + step], queries[chosen])
            scores[chosen, start : start + step] = products.T
    return scores


def _stacked(rows: Vector, queries: Vector) -> Vector:
    """Inner products (n, queries) float32 of a few queries."""
    count, length = rows.shape
    height = max(1, SINGLE_THREADED // (len(queries) * length))
    whole = count // height * height
    products = np.empty((count, len(queries)), np.float32)
    # the queries side by side: BLAS then computes a row's products with all of them at once
    columns = np.ascontiguousarray(queries.T)
    stack = as_strided(
        rows, (whole // height, height, length), (height * rows.strides[0], *rows.strides)
    )
    np.matmul(stack, columns, out=products[:whole].reshape(-1, height, len(queries)))
    np.matmul(rows[whole:], columns, out=products[whole:])
    return products
