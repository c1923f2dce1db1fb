"""Scans over all rows: exact in float32, or by int8 codes for a shortlist.

The scores of a matrix product are float32 sums in an order that BLAS chooses, so two rows may
swap and ties break at random. An exact scan therefore hands on every row within the rounding
error of the k-th score; float64 then decides (`settle`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from kokeshi.index.geometry import Doubles, Geometry
from kokeshi.index.items import Vector
from kokeshi.index.kernels.coded import best_codes
from kokeshi.index.kernels.codes import are_coded
from kokeshi.index.kernels.parts import Part, Positions, Span, spans
from kokeshi.index.kernels.pool import POOL
from kokeshi.index.kernels.products import dots
from kokeshi.index.kernels.scores import Aim, aim, doubt_of, finish
from kokeshi.index.kernels.selection import Bar, Chosen, above, best

SPANS_PER_THREAD: Final = 8  # so that all threads end together ...
SPAN_ROWS: Final = 2048  # ... but no fewer rows in one
SPAN_SCORES: Final = 2**19  # that one task computes for all its queries: they stay in the cache
QUERIES_PER_PASS: Final = 64
ALONE_BYTES: Final = 4 * 2**20  # the calling thread has read them before others are at work


class Shortlist(NamedTuple):
    """Rows whose codes are nearest to a query.

    Attributes:
        positions: ascending.
        cut: no other row's code scores more; -inf where no other row is allowed.
    """

    positions: Positions
    cut: float


def nearest(
    geometry: Geometry, parts: Sequence[Part], queries: Sequence[Doubles], k: int
) -> list[Positions]:
    """Positions of the k nearest rows of each query, with all that rounding cannot tell from them.

    Args:
        geometry: how to compare.
        parts: the rows.
        queries: prefixes of one trained length, made by `Geometry.query`.
        k: at least 1.

    Returns:
        For each query positions through all parts, ascending; all allowed rows where there are no
        more than k.
    """
    aims = [aim(geometry, query) for query in queries]
    return [np.sort(chosen.positions) for chosen in _passes(geometry, parts, aims, k)]


def nearest_codes(
    geometry: Geometry,
    parts: Sequence[Part],
    queries: Sequence[Doubles],
    k: int,
    *,
    is_partial: bool = True,
) -> list[Positions]:
    """Positions of the rows whose codes are nearest to each query, k or all that are allowed.

    See `shortlists` for the arguments.
    """
    return [each.positions for each in shortlists(geometry, parts, queries, k, is_partial)]


def shortlists(
    geometry: Geometry,
    parts: Sequence[Part],
    queries: Sequence[Doubles],
    k: int,
    is_partial: bool = True,
) -> list[Shortlist]:
    """The rows whose codes are nearest to each query, k of them or all that are allowed.

    Args:
        geometry: how to compare.
        parts: the rows; their codes, where they have any, are as wide as the queries or wider.
            Where codes do not serve (no codes; a distance; a prefix by its own angle) rows are
            compared in float32, which is exact.
        queries: prefixes of one trained length, made by `Geometry.query`.
        k: at least 1.
        is_partial: see `aim`: right for candidates that the full length will rank, wrong for
            candidates that the same prefix will rank.
    """
    aims = [aim(geometry, query, is_partial=is_partial) for query in queries]
    if not aims:
        return []
    # codes serve inner products alone: all else is compared in float32
    is_coded = are_coded(geometry.metric) and aims[0].line is None
    if not is_coded:
        return [_cut(chosen, k) for chosen in _passes(geometry, parts, aims, k)]
    found = best_codes(parts, np.stack([each.vector for each in aims]), k)
    if any(part.codes is None for part in parts):
        plain = _passes(geometry, parts, aims, k, coded=False)
        found = [best([one, other], k) for one, other in zip(plain, found, strict=True)]
    return [_cut(chosen, k) for chosen in found]


def _passes(
    geometry: Geometry, parts: Sequence[Part], aims: list[Aim], k: int, *, coded: bool = True
) -> list[Chosen]:
    """The k best of each query in float32, with what rounding cannot tell from them.

    `coded`: parts that have codes are looked at too.
    """
    found: list[Chosen] = []
    for start in range(0, len(aims), QUERIES_PER_PASS):
        chunk = aims[start : start + QUERIES_PER_PASS]
        tasks = spans(parts, _span_rows(parts, len(chunk)), coded=coded)
        size = 4 * len(chunk[0].vector) * len(chunk) * sum(span.rows for span in tasks)
        work = partial(_piece, geometry, chunk, k, [Bar(k) for _ in chunk])
        pieces = POOL.map(work, tasks, alone=size <= ALONE_BYTES)
        found += [best([of_span[i] for of_span in pieces], k) for i in range(len(chunk))]
    return found


def _span_rows(parts: Sequence[Part], queries: int) -> int:
    rows = sum(len(part.block) for part in parts)
    return min(SPAN_SCORES // queries, max(SPAN_ROWS, rows // (SPANS_PER_THREAD * POOL.threads)))


def _piece(
    geometry: Geometry, aims: list[Aim], k: int, bars: list[Bar], span: Span
) -> list[Chosen]:
    part, start, stop, _ = span
    rows = np.asarray(part.block.matrix)[start:stop, : len(aims[0].vector)]
    products = dots(rows, np.stack([each.vector for each in aims]))
    doubts = [doubt_of(geometry, part, each) for each in aims]
    if geometry.metric != "hyperbolic":
        scores = finish(geometry, span, products, aims)
        return _chosen(span, scores, k, bars, doubts)
    # the error grows with the row's factor: half of it lifts the product before the factor does
    products += np.array(doubts, np.float32)[:, None] / 2
    scores = finish(geometry, span, products, aims)
    factors = part.block.scales[0, start:stop]
    return _chosen(span, scores, k, bars, [np.float32(doubt) * factors for doubt in doubts])


def _chosen(
    span: Span, scores: Vector, k: int, bars: list[Bar], doubts: Sequence[float | Vector]
) -> list[Chosen]:
    pieces = []
    for line, bar, doubt in zip(scores, bars, doubts, strict=True):
        chosen = above(line, k, bar, doubt)
        pieces.append(chosen._replace(positions=chosen.positions + span.first))
    return pieces


def _cut(chosen: Chosen, k: int) -> Shortlist:
    """Exactly k rows of those that tie for the last seats, the first ones."""
    order = np.lexsort((chosen.positions, -chosen.scores))[:k]
    is_all = len(chosen.positions) < k
    cut = -np.inf if is_all else float(chosen.scores[order[-1]])
    return Shortlist(np.sort(chosen.positions[order]), cut)
