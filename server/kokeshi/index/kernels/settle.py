"""The last word on candidates: exact scores, and whether a row that is no candidate could win."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kokeshi.index.geometry import Doubles, Geometry
from kokeshi.index.kernels.codes import LARGEST_CODE, are_coded
from kokeshi.index.kernels.parts import Part, Positions, gather, vectors_at
from kokeshi.index.kernels.scan import Shortlist, nearest
from kokeshi.index.kernels.scores import UNIT_ROUNDOFF

# In steps of the codes, most: half a one, and a little for the rounding of the step itself.
CODE_ERROR: Final = 0.5001
# Candidates times dimension: so few are compared in float64 at once, sooner than a float32 scan of
# them leaves the last few.
FEW_NUMBERS: Final = 262_144


def settle(
    geometry: Geometry, parts: Sequence[Part], positions: Positions, query: Doubles, k: int
) -> tuple[Positions, Doubles]:
    """The k best of some rows by their scores in float64; equal ones by ascending position.

    Args:
        geometry: how to compare.
        parts: what the positions run through.
        positions: candidates, ascending, none twice.
        query: made by `Geometry.query`; its length is the one compared at.
        k: at least 1.

    Returns:
        Positions and scores, best first, larger is nearer (`Geometry.compare`).
    """
    if len(positions) * geometry.dim <= FEW_NUMBERS:
        scores = geometry.compare(vectors_at(geometry, parts, positions), query)
    else:
        block = gather(geometry, parts, positions)
        # float32 leaves few rows in doubt: float64 costs several times as much
        [close] = nearest(geometry, [Part(block)], [query], k)
        positions, scores = positions[close], geometry.compare(block.matrix[close], query)
    order = np.lexsort((positions, -scores))[:k]
    return positions[order], scores[order]


def is_proven(
    geometry: Geometry,
    parts: Sequence[Part],
    shortlist: Shortlist,
    query: Doubles,
    first: int,
    kth: float,
) -> bool:
    """Tells whether bounds show that no row outside a shortlist is among the k nearest.

    A row's inner product exceeds that of its codes by no more than their rounding times the norm of
    the query, and the product of the norms of what lies past the prefix (Cauchy and Schwarz); an L2
    distance is never below that of a prefix.

    Args:
        geometry: how to compare; the hyperbolic metric has no bound here and is never proven.
        parts: that `shortlists` looked at, with `is_partial`.
        shortlist: what it answered.
        query: of the full length, made by `Geometry.query`.
        first: length of the prefix that the shortlist was made by.
        kth: score of the k-th nearest that `settle` found; -inf where there are fewer.
    """
    if shortlist.cut == -np.inf:
        return True
    if geometry.metric == "hyperbolic":
        return False
    return all(_ceiling(geometry, part, shortlist.cut, query, first) < kth for part in parts)


def _ceiling(geometry: Geometry, part: Part, cut: float, query: Doubles, first: int) -> float:
    """No row of the part that is outside the shortlist scores more."""
    length = float(np.linalg.norm(query[:first]))
    # the shortlist was made by the prefix of the query, which cosine scales to unit norm
    unit = length if geometry.metric == "cosine" else 1.0
    blur = _blur(geometry, part, query[:first])
    product = cut * unit + blur
    if geometry.metric == "l2":
        product += blur  # twice the inner product
        return -float(np.sqrt(max(0.0, length**2 - product)))
    if first == geometry.dim:
        return product
    return product + float(np.linalg.norm(query[first:])) * _longest_rest(geometry, part, first)


def _blur(geometry: Geometry, part: Part, prefix: Doubles) -> float:
    """The most by which rounding, to 8 bits on both sides or to float32, puts a product off."""
    first, length = len(prefix), float(np.linalg.norm(prefix))
    longest = _longest(geometry, part, first)
    blur = 4 * (first + 8) * UNIT_ROUNDOFF * length * longest
    if part.codes is None or not are_coded(geometry.metric):
        return blur
    steps = np.array([part.codes.largest_scale, np.abs(prefix).max() / LARGEST_CODE])
    row_error, query_error = CODE_ERROR * np.sqrt(first) * steps
    return float(blur + length * row_error + query_error * (longest + row_error))


def _longest(geometry: Geometry, part: Part, first: int) -> float:
    """Norm of the longest prefix, or a bound of it."""
    if geometry.metric == "cosine":
        return 1.0
    return float(np.sqrt(part.block.peaks[geometry.dimensions.index(first)]))


def _longest_rest(geometry: Geometry, part: Part, first: int) -> float:
    """Norm of the longest row past its prefix, a little more than less."""
    scales = part.block.scales
    line = scales[geometry.dimensions.index(first)].astype(np.float64)
    if geometry.metric == "cosine":
        inverse = float(line.max(initial=1.0)) if line.all() else np.inf
        square = 1.0 - inverse**-2
    else:
        square = float((scales[-1] - line).max(initial=0.0))
    slack = 1e-6 * _longest(geometry, part, geometry.dim) ** 2
    return float(np.sqrt(max(0.0, square) + slack))
