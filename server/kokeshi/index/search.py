"""A search over one snapshot: candidates, then exact scores in float64 for all of them.

Whatever proposes candidates, nothing is ranked but rows that live, belong to the tenant and fit the
filter; and where fewer than k come back though more would do, every row is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kokeshi.index.forms import Form
from kokeshi.index.geometry import Doubles, Geometry, Rows
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Part, is_proven, nearest, rows_at, settle, shortlists
from kokeshi.index.plan import Plan
from kokeshi.index.segments import Mask, Positions
from kokeshi.index.snapshot import Masks, Snapshot

NO_POSITIONS: Final = np.empty(0, np.intp)
# Of those that a walk keeps; it is only tried where `Tuning.walk_share` of the rows may be found.
LEAST_FOUND: Final = 0.125


@dataclass(frozen=True, eq=False)
class Ranking:
    """Neighbours of one query, best first.

    Attributes:
        rows: (k,) row numbers.
        scores: (k,) larger is nearer.
        is_exact: no row that was left out could be among them.
    """

    rows: Rows
    scores: Doubles
    is_exact: bool

    def reaching(self, score: float) -> "Ranking":
        """The same without those that score less."""
        count = int(np.count_nonzero(self.scores >= score))
        return Ranking(self.rows[:count], self.scores[:count], self.is_exact)


def rank(
    geometry: Geometry, snapshot: Snapshot, masks: Masks, queries: Vector, plan: Plan
) -> list[Ranking]:
    """Neighbours of each query.

    Args:
        geometry: how to compare.
        snapshot: where to search.
        masks: rows that may be found, see `Snapshot.allowed`.
        queries: (n, length) float32, at least as long as `plan.dimension`.
        plan: how to search.
    """
    finals = [geometry.query(query, plan.dimension) for query in queries]
    if plan.is_gathered:
        return _exact(geometry, _gathered(snapshot.parts(masks)), finals, plan.k)
    parts = snapshot.parts(masks)
    if plan.is_full_scan:
        return _exact(geometry, parts, finals, plan.k)
    firsts = finals
    if plan.first != plan.dimension:
        firsts = [geometry.query(query, plan.first) for query in queries]
    if plan.kind == "codes":
        return _by_codes(geometry, parts, firsts, finals, plan)
    if plan.kind == "flat":
        found = nearest(geometry, parts, firsts, plan.width)
        return _settled(geometry, parts, found, finals, plan.k)
    return _by_form(geometry, snapshot, masks, firsts, finals, plan)


def _gathered(parts: Sequence[Part]) -> list[Part]:
    """Copies of the allowed rows alone."""
    return [
        part if part.allowed is None else Part(part.block.part(part.allowed), None, None)
        for part in parts
        if part.allowed is None or part.allowed.any()
    ]


def _exact(
    geometry: Geometry, parts: Sequence[Part], queries: Sequence[Doubles], k: int
) -> list[Ranking]:
    found = nearest(geometry, parts, queries, k)
    return _settled(geometry, parts, found, queries, k, is_exact=True)


def _settled(
    geometry: Geometry,
    parts: Sequence[Part],
    found: Sequence[Positions],
    queries: Sequence[Doubles],
    k: int,
    *,
    is_exact: bool = False,
) -> list[Ranking]:
    rankings = []
    for positions, query in zip(found, queries, strict=True):
        best, scores = settle(geometry, parts, positions, query, k)
        rankings.append(Ranking(rows_at(parts, best), scores, is_exact))
    return rankings


def _by_codes(
    geometry: Geometry,
    parts: Sequence[Part],
    firsts: Sequence[Doubles],
    finals: Sequence[Doubles],
    plan: Plan,
) -> list[Ranking]:
    is_partial = plan.first != plan.dimension
    lists = shortlists(geometry, parts, firsts, plan.width, is_partial)
    rankings = []
    for found, query in zip(lists, finals, strict=True):
        positions, scores = settle(geometry, parts, found.positions, query, plan.k)
        kth = float(scores[-1]) if len(scores) == plan.k else -np.inf
        # bounds of what lies past a prefix seldom close, and cost a look at every row
        is_all = plan.dimension == geometry.dim and plan.first == geometry.dim
        proven = is_all and is_proven(geometry, parts, found, query, plan.first, kth)
        rankings.append(Ranking(rows_at(parts, positions), scores, proven))
    return rankings


def _by_form(
    geometry: Geometry,
    snapshot: Snapshot,
    masks: Masks,
    firsts: Sequence[Doubles],
    finals: Sequence[Doubles],
    plan: Plan,
) -> list[Ranking]:
    form = snapshot.form
    assert form is not None
    parts = snapshot.parts(masks)
    beside = _beside(geometry, snapshot, masks, firsts, plan)
    walked = _walked(form, firsts, plan, snapshot.mask_of(masks, form.size))
    rankings = []
    for older, final, newer in zip(walked, finals, beside, strict=True):
        if older is None:
            rankings += _exact(geometry, parts, [final], plan.k)
            continue
        positions = np.concatenate([older, newer + form.size]) if len(newer) else older
        rankings += _settled(geometry, parts, [positions], [final], plan.k, is_exact=plan.is_exact)
    return rankings


def _walked(
    form: Form, queries: Sequence[Doubles], plan: Plan, allowed: Mask | None
) -> list[Positions | None]:
    """Candidates of a form that may be found, ascending; None where it fails to find enough."""
    there = form.size if allowed is None else int(np.count_nonzero(allowed))
    # part of a graph may be out of reach, and the lists that are scanned may hold too few
    least = round(LEAST_FOUND * plan.width) if form.kind == "hnsw" else 0
    wanted = min(max(plan.k, least), there)
    found = form.candidates_of(queries, plan.width, plan.breadth or None, allowed)
    if allowed is not None:
        # not every engine obeys its selector
        found = [each[allowed[each]] for each in found]
    return [each if len(each) >= wanted else None for each in found]


def _beside(
    geometry: Geometry,
    snapshot: Snapshot,
    masks: Masks,
    firsts: Sequence[Doubles],
    plan: Plan,
) -> list[Positions]:
    """Candidates among the rows that the form does not cover, their positions from there on."""
    assert snapshot.form is not None
    if snapshot.form.size == snapshot.rows:
        return [NO_POSITIONS for _ in firsts]
    return nearest(geometry, snapshot.parts(masks, snapshot.form.size), firsts, plan.width)
