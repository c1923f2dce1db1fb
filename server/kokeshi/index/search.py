"""A search over one snapshot: candidates from index and tail, then exact scores for all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from kokeshi.index.faiss_index import Base, search_flat, search_graph
from kokeshi.index.geometry import Doubles, Geometry, Rows
from kokeshi.index.scan import Positions, doubt_of, scan
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.store import SearchParams, Vector
from kokeshi.index.tuning import Tuning

# Without a prefix asked for, a shortlist is made by the shortest trained one that is at least this
# long and this share of the full length: on hard data, a quarter of 1024 floats and 400 rows
# keep 99.7 % of the neighbours, an eighth 97 %.
SHORTLIST_DIMENSION: Final = 64
SHORTLIST_SHARE: Final = 0.25
SHORTLIST_ROWS: Final = 500
SHORTLIST_PER_K: Final = 50
# Up to so many queries FAISS's scan is the faster one, beyond it one matrix product for all.
FLAT_QUERIES: Final = 4
FLAT_MARGIN: Final = 16  # rows beyond k
# A graph walk that visits more than this share of the rows is slower than a scan.
WALK_SHARE: Final = 0.1


@dataclass(frozen=True)
class Plan:
    """How a search goes.

    Attributes:
        dimension: length that the scores are computed at.
        first: length that candidates are taken at; shorter than `dimension` for a shortlist.
        width: candidates per query.
        breadth: efSearch of the walk over the graph; None scans.
    """

    k: int
    dimension: int
    first: int
    width: int
    breadth: int | None

    @property
    def is_exact(self) -> bool:
        """True when every row is compared at the final length."""
        return self.breadth is None and self.first == self.dimension


@dataclass(frozen=True, eq=False)
class Ranking:
    """Neighbours of one query, best first: (k,) row numbers and (k,) scores, larger is nearer."""

    rows: Rows
    scores: Doubles


def plan(geometry: Geometry, snapshot: Snapshot, params: SearchParams, tuning: Tuning) -> Plan:
    """Chooses how to search."""
    final = geometry.dim if params.rerank else params.dimension or geometry.dim
    walk = _walk_plan(snapshot.base, params, final, tuning)
    if walk is not None:
        return walk
    width = _shortlist_rows(params)
    if not params.rerank or width >= snapshot.count:
        return Plan(params.k, final, final, params.k, None)
    return Plan(params.k, final, params.dimension or _shortlist_dimension(geometry), width, None)


def _walk_plan(base: Base | None, params: SearchParams, final: int, tuning: Tuning) -> Plan | None:
    """A plan with the graph, or None where it is of no use."""
    if base is None or base.graph is None or params.exact:
        return None
    first = base.graph_dimension
    if params.dimension not in (None, first):
        return None
    width = params.k if first == final else _shortlist_rows(params)
    breadth = max(tuning.ef_search, 2 * width)
    if breadth > WALK_SHARE * len(base.block):
        return None
    return Plan(params.k, final, first, width, breadth)


def _shortlist_rows(params: SearchParams) -> int:
    return params.shortlist or max(SHORTLIST_ROWS, SHORTLIST_PER_K * params.k)


def rank(geometry: Geometry, snapshot: Snapshot, queries: Vector, chosen: Plan) -> list[Ranking]:
    """Neighbours of each query.

    Args:
        geometry: how to compare.
        snapshot: where to search.
        queries: (n, length) float32, at least as long as `chosen.dimension`.
        chosen: how to search.
    """
    firsts = [geometry.query(query, chosen.first) for query in queries]
    tails = scan(geometry, snapshot.tail, snapshot.tail_dead, firsts, chosen.width)
    bases = _base_candidates(geometry, snapshot, firsts, chosen)
    return [
        _settled(geometry, snapshot, geometry.query(query, chosen.dimension), base, tail, chosen.k)
        for query, base, tail in zip(queries, bases, tails, strict=True)
    ]


def _shortlist_dimension(geometry: Geometry) -> int:
    least = max(SHORTLIST_DIMENSION, SHORTLIST_SHARE * geometry.dim)
    return next((length for length in geometry.dimensions if length >= least), geometry.dim)


def _base_candidates(
    geometry: Geometry, snapshot: Snapshot, firsts: list[Doubles], chosen: Plan
) -> Iterator[Positions]:
    base, dead = snapshot.base, snapshot.base_dead
    if base is None:
        yield from (np.empty(0, np.intp) for _ in firsts)
    elif chosen.breadth is None and _suits_faiss(geometry, firsts):
        yield from _scan_flat(geometry, base, snapshot, firsts, chosen.width)
    elif chosen.breadth is None:
        yield from scan(geometry, base.block, dead, firsts, chosen.width)
    else:
        yield from (_walk(geometry, base, snapshot, first, chosen) for first in firsts)


def _suits_faiss(geometry: Geometry, firsts: list[Doubles]) -> bool:
    return len(firsts) <= FLAT_QUERIES and len(firsts[0]) == geometry.dim


def _scan_flat(
    geometry: Geometry, base: Base, snapshot: Snapshot, firsts: list[Doubles], k: int
) -> Iterator[Positions]:
    """As `scan`, by FAISS, whose list must reach beyond what rounding could have swapped."""
    bits = snapshot.live_bits if len(snapshot.base_dead) else None
    scores, found = search_flat(base, firsts, k + FLAT_MARGIN, live_bits=bits)
    for line, positions, first in zip(scores, found, firsts, strict=True):
        doubt = doubt_of(geometry, base.block, first.astype(np.float32))
        if positions[-1] < 0 or line[k - 1] - line[-1] > doubt:
            yield positions[positions >= 0]
        else:
            yield from scan(geometry, base.block, snapshot.base_dead, [first], k)


def _walk(
    geometry: Geometry, base: Base, snapshot: Snapshot, first: Doubles, chosen: Plan
) -> Positions:
    assert chosen.breadth is not None
    bits = snapshot.live_bits if len(snapshot.base_dead) else None
    found = search_graph(base, first, chosen.width, breadth=chosen.breadth, live_bits=bits)
    live = len(base.block) - len(snapshot.base_dead)
    if len(found) < min(chosen.width, live):
        # part of the graph cannot be reached; a scan always can
        return next(scan(geometry, base.block, snapshot.base_dead, [first], chosen.width))
    return found


def _settled(
    geometry: Geometry,
    snapshot: Snapshot,
    query: Doubles,
    base: Positions,
    tail: Positions,
    k: int,
) -> Ranking:
    """The k best of the candidates by exact score; equal ones in the order of insertion."""
    rows = [snapshot.tail.rows[tail]]
    scores = [geometry.compare(snapshot.tail.matrix[tail], query)]
    if snapshot.base is not None:
        rows.insert(0, snapshot.base.block.rows[base])
        scores.insert(0, geometry.compare(snapshot.base.block.matrix[base], query))
    all_rows, all_scores = np.concatenate(rows), np.concatenate(scores)
    order = np.lexsort((all_rows, -all_scores))[:k]
    return Ranking(all_rows[order], all_scores[order])
