"""Exact scans with NumPy: every row that can be among the k nearest, and few others.

The scores of a matrix product are float32 sums in an order that BLAS chooses, so two rows may
swap and ties break at random. A scan therefore hands on every row within the rounding error of
the k-th score; float64 then decides (`Geometry.compare`). One `X @ q` runs at the speed of memory,
and on a view of the first columns it searches a Matryoshka prefix without a second copy.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.geometry import Block, Doubles, Geometry
from kokeshi.index.store import Vector

Positions = npt.NDArray[np.intp]

SCORES_BYTES: Final = 64 * 2**20  # of one pass over a block
QUERIES_PER_PASS: Final = 64
_LANES: Final = 64  # rows that compete for one seat in the preselection
_UNIT_ROUNDOFF: Final = 2.0**-24  # of float32


def scan(
    geometry: Geometry, block: Block, dead: Positions, queries: list[Doubles], k: int
) -> Iterator[Positions]:
    """Positions of the k nearest rows of each query, with all that rounding cannot tell from them.

    Args:
        geometry: how to compare.
        block: the rows.
        dead: positions that must not be found.
        queries: prefixes of one length, made by `Geometry.query`.
        k: at least 1; all live rows are found when there are fewer.
    """
    per_pass = max(1, min(QUERIES_PER_PASS, SCORES_BYTES // max(1, 4 * len(block))))
    for start in range(0, len(queries), per_pass):
        chunk = np.stack(queries[start : start + per_pass]).astype(np.float32)
        for scores, query in zip(_scores(geometry, block, chunk), chunk, strict=True):
            scores[dead] = -np.inf
            yield _nearest(scores, k, doubt_of(geometry, block, query))


def _scores(geometry: Geometry, block: Block, queries: Vector) -> Vector:
    """Fast scores, (queries, n), larger is nearer; L2's leave out what all rows share."""
    prefix = block.matrix[:, : queries.shape[1]]
    # one query as a matrix of one row would miss BLAS's matrix-vector kernel
    scores = (prefix @ queries[0])[None] if len(queries) == 1 else queries @ prefix.T
    scale = block.scales[geometry.dimensions.index(queries.shape[1])]
    if geometry.metric == "l2":
        scores *= 2
        scores -= scale
    elif queries.shape[1] != geometry.dim:
        scores *= scale
    return scores


def doubt_of(geometry: Geometry, block: Block, query: Vector) -> float:
    """Twice the largest rounding error of a fast score, in any order of summation.

    Rows whose fast scores differ by more are in their true order.
    """
    dimension = len(query)
    error = (dimension + 8) * _UNIT_ROUNDOFF
    if geometry.metric == "cosine":
        return 2 * error
    scale = block.scales[geometry.dimensions.index(dimension)]
    peak = float(np.sqrt(scale.max(initial=0.0)))
    return 2 * error * peak * (2 * float(np.linalg.norm(query)) + peak)


def _nearest(scores: Vector, k: int, doubt: float) -> Positions:
    pool = _preselect(scores, k, doubt)
    if len(pool) <= k:
        return pool
    chosen = scores[pool]
    kth = np.partition(chosen, len(chosen) - k)[len(chosen) - k]
    return pool[chosen >= kth - doubt]


def _preselect(scores: Vector, k: int, doubt: float) -> Positions:
    """Positions of at least the k best; the k-th best of the lanes' winners is a lower bound."""
    lanes = len(scores) // _LANES
    bound = -np.inf
    if lanes > k:
        winners = scores[: lanes * _LANES].reshape(_LANES, lanes).max(axis=0)
        bound = np.partition(winners, lanes - k)[lanes - k] - doubt
    if bound == -np.inf:
        return np.flatnonzero(scores > -np.inf)
    return np.flatnonzero(scores >= bound)
