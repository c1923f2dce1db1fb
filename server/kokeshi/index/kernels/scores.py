"""Fast float32 scores from inner products, larger is nearer, and how far rounding puts them off.

Every metric is an inner product and at most one number per row (`Block.scales`):

    cosine       q.x            at the full length, where rows have unit norm
                 q.x * s        at a prefix; s is the inverse norm of the row's prefix
    ip           q.x
    l2           2 q.x - s      s is the squared norm of the row's prefix
    hyperbolic   (q.x - t) * s  s is the row's conformal factor, see `Geometry.query`
"""

from typing import Final, NamedTuple

import numpy as np

from kokeshi.index.geometry import Doubles, Geometry
from kokeshi.index.items import Vector
from kokeshi.index.kernels.parts import Part, Span

UNIT_ROUNDOFF: Final = 2.0**-24  # of float32


class Aim(NamedTuple):
    """One query, ready for fast scores.

    Attributes:
        vector: (length,) float32, what rows are multiplied by.
        offset: subtracted from products; 0 but under the hyperbolic metric.
        line: of `Block.scales` that turns products into scores; None: they are the scores.
    """

    vector: Vector
    offset: float
    line: int | None


def aim(geometry: Geometry, query: Doubles, *, is_partial: bool = False) -> Aim:
    """Prepares a query that `Geometry.query` made.

    Args:
        geometry: how to compare.
        query: of a trained length.
        is_partial: under cosine, a prefix is compared by its share of the full inner product, not
            by its own angle.
    """
    length = geometry.length_of(query)
    line = geometry.dimensions.index(length)
    if geometry.metric == "hyperbolic":
        return Aim(query[:-1].astype(np.float32), float(query[-1]), line)
    is_angle = geometry.metric == "cosine" and length != geometry.dim and not is_partial
    return Aim(query.astype(np.float32), 0.0, line if is_angle or geometry.metric == "l2" else None)


def finish(geometry: Geometry, span: Span, products: Vector, aims: list[Aim]) -> Vector:
    """Turns products (queries, rows of the span) into scores, in place; -inf where not allowed."""
    part, start, stop, _ = span
    if aims[0].line is not None:
        scale = part.block.scales[aims[0].line, start:stop]
        if geometry.metric == "l2":
            products *= 2
            products -= scale
        else:
            if geometry.metric == "hyperbolic":
                products -= np.array([[each.offset] for each in aims], np.float32)
            products *= scale
    if part.allowed is not None:
        np.copyto(products, np.float32(-np.inf), where=~part.allowed[start:stop])
    return products


def doubt_of(geometry: Geometry, part: Part, query: Aim) -> float:
    """Twice the largest rounding error of a part's fast scores, in any order of summation.

    Rows whose scores differ by more are in their true order. Under the hyperbolic metric it is
    still to be multiplied by the row's factor.
    """
    error = 2 * (len(query.vector) + 8) * UNIT_ROUNDOFF
    length = float(np.linalg.norm(query.vector.astype(np.float64)))
    if geometry.metric == "cosine":
        return error
    if geometry.metric == "hyperbolic":
        return error * (length / float(np.sqrt(geometry.curvature)) + query.offset)
    peak = _longest(geometry, part, len(query.vector))
    if geometry.metric == "ip":
        return error * peak * length
    return error * peak * (2 * length + peak)


def _longest(geometry: Geometry, part: Part, length: int) -> float:
    """Norm of the longest prefix."""
    return float(np.sqrt(part.block.peaks[geometry.dimensions.index(length)]))
