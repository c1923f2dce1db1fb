"""A search: candidates from Milvus, order and scores from here, in float64.

Milvus computes in float32, knows only the lengths that it has a field for and, of a filter, only
what its expressions say. So it is asked for more than k rows, with their vectors; what does not
fit is dropped; where too few are left it is asked for more, and at last for every row.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
from kokeshi.index.milvus.client import STRONG
from kokeshi.index.milvus.layout import METRICS, Layout, prefix_metric
from kokeshi.index.milvus.reading import FIELDS, FLOAT_BYTES, MAX_ROWS, Reader, Row
from kokeshi.index.milvus.where import Where


@dataclass(frozen=True)
class Plan:
    """How a search goes.

    Attributes:
        source: field that Milvus searches; None reads every row.
        first: length of it.
        final: length that the scores are computed at.
        width: rows that Milvus is asked for, per query.
        breadth: efSearch; None where no graph is walked.
        is_exact: every row is compared at the final length.
    """

    source: str | None
    first: int
    final: int
    width: int
    breadth: int | None
    is_exact: bool

    @property
    def route(self) -> Route:
        """For the answer."""
        if self.source is None:
            return Route("scan", self.final)
        kind = "flat" if self.breadth is None else "hnsw"
        shortlist = 0 if self.first == self.final else self.width
        return Route(kind, self.first, shortlist, self.breadth or 0)


def plan_of(layout: Layout, params: SearchParams) -> Plan:
    """Chooses how to search."""
    dim = layout.spec.dim
    final = dim if params.rerank else params.dimension or dim
    is_short = layout.prefix is not None and not (params.exact or layout.spec.index == "flat")
    source, first = ("prefix", layout.prefix or dim) if is_short else ("full", dim)
    is_flat = layout.kind == "flat" or (source == "full" and layout.is_full_flat)
    if params.exact and not (is_flat and first == final):
        return Plan(None, final, final, params.k, None, is_exact=True)
    width = params.k + MARGIN if first == final else shortlist_rows(params)
    width = min(width, MAX_ROWS)
    breadth = None if is_flat else max(params.breadth or BREADTH, width)
    return Plan(source, first, final, width, breadth, is_flat and first == final)


class Search:
    """One search of a collection.

    Args:
        reader: of the server.
        layout: of the collection.
        where: which rows.
        params: how to search.
        scan_rows: most rows that are read where Milvus cannot find the answer itself.
    """

    def __init__(
        self, reader: Reader, layout: Layout, where: Where, params: SearchParams, scan_rows: int
    ) -> None:
        self._reader, self._layout, self._where = reader, layout, where
        self._params, self._scan_rows = params, scan_rows
        self._geometry = Geometry.of(layout.spec)
        self.plan = plan_of(layout, params)

    def run(self, queries: Vector) -> list[tuple[Hit, ...]]:
        """Hits of each query, (queries, length) `queries`."""
        prepared = [self._geometry.query(query, self.plan.final) for query in queries]
        bests = [Best(query, self._params.k) for query in prepared]
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
            for number, rows in self._ask(queries, pending, width):
                fitting = [row for row in rows if self._where.fits(row)]
                bests[number].found.clear()
                bests[number].offer(self._geometry, fitting)
                if len(fitting) < self._params.k and not self._is_all(len(rows)):
                    short.append(number)
            if width == most:
                return short
            pending, width = short, min(WIDER * width, most)
        return pending

    @functools.cached_property
    def _total(self) -> int:
        return self._reader.count(self._layout, self._where.expression)

    def _is_all(self, count: int) -> bool:
        """True when Milvus gave every row that its expression allows; a graph may miss some."""
        return count >= self._total

    def _ask(
        self, queries: Vector, numbers: Sequence[int], width: int
    ) -> Iterable[tuple[int, list[Row]]]:
        row_bytes = FLOAT_BYTES * self._layout.spec.dim
        at_once = max(1, self._reader.answer_bytes // (row_bytes * width))
        for start in range(0, len(numbers), at_once):
            chunk = numbers[start : start + at_once]
            answers = self._reader.client.call(
                "search",
                self._layout.spec.name,
                collection_name=self._layout.name,
                anns_field=self.plan.source,
                data=[self._first(queries[number]) for number in chunk],
                limit=width,
                filter=self._where.expression,
                output_fields=[*FIELDS, "full"],
                search_params=self._search_params(width),
                consistency_level=STRONG,
            )
            for number, hits in zip(chunk, answers, strict=True):
                yield number, [{"key": hit["key"], **hit["entity"]} for hit in hits]

    def _search_params(self, width: int) -> dict[str, Any]:
        spec = self._layout.spec
        metric = prefix_metric(spec) if self.plan.source == "prefix" else METRICS[spec.metric]
        breadth = self.plan.breadth
        walk = {} if breadth is None else {"ef": max(breadth, width)}
        return {"metric_type": metric, "params": walk}

    def _first(self, query: Vector) -> list[float]:
        """A query at the length of the field: cut, or filled up with zeros."""
        cut = self._geometry.query(query, min(len(query), self.plan.first))
        filled = np.zeros(self.plan.first, np.float32)
        filled[: len(cut)] = cut
        return filled.tolist()

    def _scan(self, bests: Sequence[Best]) -> None:
        if self._total > self._scan_rows:
            raise UnimplementedError(
                f"milvus cannot answer this search itself, and {self._total} rows are more than "
                f"the {self._scan_rows} that are read for one"
            )
        for best in bests:
            best.found.clear()
        for rows in self._reader.all(self._layout, self._where, with_vectors=True):
            for best in bests:
                best.offer(self._geometry, rows, with_vectors=self._params.with_vectors)
