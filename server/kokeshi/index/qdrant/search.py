"""A search: candidates from Qdrant, order and scores from here, in float64.

Qdrant computes in float32, knows only the lengths that it has vectors for and, of a filter, only
what its conditions say. So it is asked for more than k rows, with their vectors; what does not fit
is dropped; where too few are left it is asked for more, and at last for every row.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kokeshi.errors import UnimplementedError
from kokeshi.index.asked import SearchParams
from kokeshi.index.distributed.ranking import (
    BREADTH,
    MARGIN,
    WIDER,
    Best,
    check_depth,
    shortlist_rows,
)
from kokeshi.index.found import Hit, Route
from kokeshi.index.geometry import Geometry
from kokeshi.index.items import Vector
from kokeshi.index.qdrant.layout import Layout
from kokeshi.index.qdrant.points import Row, row_of
from kokeshi.index.qdrant.reading import FLOAT_BYTES, PAYLOAD, Reader, consistency
from kokeshi.index.qdrant.where import Where

# Of the largest score: float32's sums of thousands of products are off by less.
SCORE_ERROR: Final = 1e-5


@dataclass(frozen=True)
class Plan:
    """How a search goes.

    Attributes:
        source: vector that Qdrant takes candidates by; None reads every row.
        first: length of it.
        final: length that the scores are computed at.
        shortlist: rows that Qdrant itself ranks again by `full`; 0: it does not.
        width: rows that Qdrant is asked for, per query.
        breadth: efSearch; None where no graph is walked.
        is_exact: every row is compared at the final length.
    """

    source: str | None
    first: int
    final: int
    shortlist: int
    width: int
    breadth: int | None
    is_exact: bool

    @property
    def route(self) -> Route:
        """For the answer."""
        if self.source is None:
            return Route("scan", self.final)
        ranked_again = 0 if self.first == self.final else self.shortlist or self.width
        kind = "flat" if self.breadth is None else "hnsw"
        return Route(kind, self.first, ranked_again, self.breadth or 0)


def plan_of(layout: Layout, params: SearchParams) -> Plan:
    """Chooses how to search."""
    dim = layout.spec.dim
    final = dim if params.rerank else params.dimension or dim
    if params.exact:
        return _exact_plan(layout, params, final)
    is_short = layout.prefix is not None and layout.spec.index != "flat"
    source, first = ("prefix", layout.prefix or dim) if is_short else ("full", dim)
    is_flat = layout.kind == "flat" or (source == "full" and layout.is_full_flat)
    width = params.k + MARGIN
    shortlist = 0 if first == final else max(shortlist_rows(params), width)
    if final != dim or not is_short:
        # Qdrant cannot rank at this length: the whole shortlist comes here
        width, shortlist = max(width, shortlist), 0
    breadth = None if is_flat else max(params.breadth or BREADTH, shortlist or width)
    return Plan(source, first, final, shortlist, width, breadth, is_flat and first == final)


def _exact_plan(layout: Layout, params: SearchParams, final: int) -> Plan:
    """Every row is compared: by Qdrant where it can, and else here."""
    width = params.k + MARGIN
    if final == layout.prefix:
        return Plan("prefix", final, final, 0, width, None, is_exact=True)
    # an inner product with zeros behind the query is one of prefixes
    if final == layout.spec.dim or layout.spec.metric == "ip":
        return Plan("full", final, final, 0, width, None, is_exact=True)
    return Plan(None, final, final, 0, params.k, None, is_exact=True)


class Search:
    """One search of a collection.

    Args:
        reader: of Qdrant.
        layout: of the collection.
        where: which rows.
        params: how to search.
        scan_rows: most rows that are read where Qdrant cannot find the answer itself.
    """

    def __init__(
        self, reader: Reader, layout: Layout, where: Where, params: SearchParams, scan_rows: int
    ) -> None:
        self._reader, self._layout, self._where = reader, layout, where
        self._params, self._scan_rows = params, scan_rows
        self._geometry = Geometry.of(layout.spec)
        self.plan = plan_of(layout, params)
        self.is_exact = self.plan.is_exact

    def run(self, queries: Vector) -> list[tuple[Hit, ...]]:
        """Hits of each query, (queries, length) `queries`; `is_exact` is true of them then."""
        bests = [
            Best(self._geometry.query(query, self.plan.final), self._params.k) for query in queries
        ]
        left = list(range(len(bests)))
        if self.plan.source is not None:
            left = self._narrow(queries, bests)
        if left:
            self._scan([bests[number] for number in left])
        return [tuple(best.hits(self._layout.spec, self._params)) for best in bests]

    def _narrow(self, queries: Vector, bests: list[Best]) -> list[int]:
        """Asks for ever more rows; returns the queries that want every row read."""
        most = self._reader.rows_at_once(self._layout)
        pending, width = list(range(len(bests))), min(self.plan.width, most)
        if self._params.k > most:
            check_depth(self._layout.spec, self._params, most, self._total, self.plan.is_exact)
            return pending
        while pending:
            short: list[int] = []
            for number, points in self._ask(queries, pending, width):
                is_enough = self._offer(bests[number], points)
                if not is_enough and len(points) < self._total:
                    short.append(number)
            if width == most:
                self.is_exact = self.is_exact and not short
                return [number for number in short if len(bests[number].found) < self._params.k]
            pending, width = short, min(WIDER * width, most)
        return pending

    def _offer(self, best: Best, points: Sequence[Any]) -> bool:
        """Ranks an answer; false where a row that did not come may belong among the best."""
        rows = [row_of(point, with_vector=True) for point in points]
        best.found.clear()
        best.offer(self._geometry, [row for row in rows if self._where.fits(row)])
        if len(best.found) < self._params.k:
            return False
        if not self.plan.is_exact:
            return True
        scores = [point.score for point in points]
        error = SCORE_ERROR * max(map(abs, scores))
        sign = 1.0 if self._layout.spec.higher_is_better else -1.0
        return bool(best.found[-1][0] > sign * scores[-1] + error)

    @functools.cached_property
    def _total(self) -> int:
        return self._reader.count(self._layout, self._where)

    def _ask(
        self, queries: Vector, numbers: Sequence[int], width: int
    ) -> Iterable[tuple[int, list[Any]]]:
        row_bytes = FLOAT_BYTES * self._layout.spec.dim
        at_once = max(1, self._reader.answer_bytes // (row_bytes * width))
        for start in range(0, len(numbers), at_once):
            chunk = numbers[start : start + at_once]
            answers = self._reader.call(
                self._layout,
                "query_batch_points",
                requests=[self._request(queries[number], width) for number in chunk],
                **consistency(self._layout),
            )
            for number, answer in zip(chunk, answers, strict=True):
                yield number, answer.points

    def _request(self, query: Vector, width: int) -> Any:  # noqa: ANN401 - a qdrant_client type
        from qdrant_client import models

        plan, wanted = self.plan, self._where.filter_of()
        walk = self._walk(max(width, plan.shortlist))
        final: dict[str, Any] = {"using": plan.source, "query": self._padded(query, plan.source)}
        if plan.shortlist:
            # the funnel: Qdrant takes the shortlist by the prefix, and ranks it by the full length
            shortlist = max(plan.shortlist, width)
            final = {
                "using": "full",
                "query": self._padded(query, "full"),
                "prefetch": models.Prefetch(**final, limit=shortlist, filter=wanted, params=walk),
            }
        return models.QueryRequest(
            **final,
            limit=width,
            filter=wanted,
            params=None if plan.shortlist else walk,
            with_payload=PAYLOAD,
            with_vector=self._layout.read_vectors,
        )

    def _walk(self, width: int) -> Any:  # noqa: ANN401 - a qdrant_client type
        """What a server is told of the way; the local engine knows one way only."""
        if self._layout.is_local:
            return None
        from qdrant_client import models

        if self.plan.breadth is None:
            return models.SearchParams(exact=True)
        return models.SearchParams(hnsw_ef=max(self.plan.breadth, width))

    def _padded(self, query: Vector, source: str | None) -> list[float]:
        """A query at the length of a vector: cut, or filled up with zeros."""
        length = self._layout.spec.dim if source == "full" else self._layout.prefix or 0
        # what lies behind the final length is not asked for
        cut = self._geometry.query(query, min(len(query), length, self.plan.final))
        filled = np.zeros(length, np.float32)
        filled[: len(cut)] = cut
        return [float(value) for value in filled]

    def _scan(self, bests: Sequence[Best]) -> None:
        if self._total > self._scan_rows:
            raise UnimplementedError(
                f"qdrant cannot answer this search itself, and {self._total} rows are more than "
                f"the {self._scan_rows} that are read for one"
            )
        for best in bests:
            best.found.clear()
        for rows in self._reader.all(self._layout, self._where, with_vectors=True):
            self._offer_all(bests, rows)

    def _offer_all(self, bests: Sequence[Best], rows: Sequence[Row]) -> None:
        for best in bests:
            best.offer(self._geometry, rows, with_vectors=self._params.with_vectors)
