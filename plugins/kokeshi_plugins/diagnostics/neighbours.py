"""Exact nearest neighbours by Euclid's distance, in blocks of bounded memory.

A matrix product in float32 finds candidates; float64 differences of the rows themselves decide.
Distances by a product alone are wrong for items that nearly coincide, and the ratios of the
smallest distances are what an intrinsic dimension is read from.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kokeshi.plugin import go_on
from kokeshi_plugins.diagnostics.sampling import Doubles, Floats, Rows

BLOCK_BYTES: Final = 64 * 2**20  # of one block of products
_SPARE: Final = 8  # candidates beyond k: float32 may swap neighbours that are all but equally far


def nearest(
    queries: Floats, base: Floats, k: int, *, own: Rows | None = None
) -> tuple[Doubles, Rows]:
    """The k nearest rows of `base` for each query, nearest first, equals by row.

    Args:
        queries: (queries, dim).
        base: (n, dim), n > k, or n >= k without `own`.
        k: how many.
        own: (queries,) the row of `base` that is the query itself and never its neighbour.

    Returns:
        Distances (queries, k) float64 and rows of `base` (queries, k) int64.
    """
    distances = np.empty((len(queries), k))
    rows = np.empty((len(queries), k), np.int64)
    for block, squares in squared_distances(queries, base):
        if own is not None:
            squares[np.arange(len(squares)), own[block]] = np.inf
        candidates = _smallest(squares, min(k + _SPARE, len(base) - (own is not None)))
        distances[block], rows[block] = _refined(queries[block], base, candidates, k)
    return distances, rows


def squared_distances(queries: Floats, base: Floats) -> Iterator[tuple[slice, Floats]]:
    """Blocks of queries, and their squared distances to all of `base`, (block, n) float32.

    Good to a millionth of the squared spread of the items, not of the distance itself.
    """
    # about the mean: a shared offset would eat the digits of the differences
    centre = base.mean(axis=0, dtype=np.float64).astype(np.float32)
    base, queries = base - centre, queries - centre
    norms = np.einsum("ij,ij->i", base, base)
    step = max(1, BLOCK_BYTES // (4 * len(base)))
    for start in range(0, len(queries), step):
        go_on()
        block = slice(start, min(start + step, len(queries)))
        part = queries[block]
        squares = part @ (-2 * base.T)
        squares += norms
        squares += np.einsum("ij,ij->i", part, part)[:, None]
        yield block, squares


def _smallest(squares: Floats, count: int) -> Rows:
    if count >= squares.shape[1]:
        return np.tile(np.arange(squares.shape[1]), (len(squares), 1))
    return np.argpartition(squares, count - 1, axis=1)[:, :count]


def _refined(queries: Floats, base: Floats, candidates: Rows, k: int) -> tuple[Doubles, Rows]:
    distances = np.empty((len(queries), k))
    rows = np.empty((len(queries), k), np.int64)
    for index, (query, found) in enumerate(zip(queries, candidates, strict=True)):
        differences = base[found].astype(np.float64) - query
        exact = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        order = np.lexsort((found, exact))[:k]
        distances[index], rows[index] = exact[order], found[order]
    return distances, rows
