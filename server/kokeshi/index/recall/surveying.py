"""The first curve of a collection: its own rows as queries, before the first user asks."""

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kokeshi.errors import ItemNotFoundError
from kokeshi.index.asked import SearchParams
from kokeshi.index.info import CollectionInfo
from kokeshi.index.items import Item, Vector
from kokeshi.index.recall.dials import DEFAULT, EXACT, EXACT_KINDS, Setting, Want, ladder
from kokeshi.index.recall.ledger import Ledger, Point
from kokeshi.index.recall.probing import Probe, Turn, explore
from kokeshi.index.store import Store

PAGE_ROWS: Final = 1000
FIRST_QUERIES: Final = 32  # by every setting; the others only by those worth it
STEP_QUERIES: Final = 8
GRAPHS: Final = frozenset({"hnsw"})
NEIGHBOURS: Final = 10
GROWTH: Final = 2.0  # of a collection, after which what its rows told is measured anew


@dataclass(frozen=True)
class Effort:
    """How a collection is surveyed.

    Attributes:
        queries: rows that are searched for; 0: no survey.
        scanned_rows: the rows are drawn from so many, the oldest.
        least_rows: smaller collections are not worth it.
    """

    queries: int = 256
    scanned_rows: int = 200_000
    least_rows: int = 2000


@dataclass(frozen=True, eq=False)
class Query:
    """`id` is that of the item that the vector, (dim,) float32, belongs to; None: of none."""

    id: str | None
    vector: Vector


class Survey:
    """Measures one collection for one kind of wish, a few queries at a time.

    Args:
        store: to search.
        ledger: where it is counted.
        info: the collection.
        want: the wish.
        queries: to search for.
        turn: around each search.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        info: CollectionInfo,
        want: Want,
        queries: Sequence[Query],
        turn: Turn,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._turn = turn
        self._info = info
        self._want = want
        self._queries = queries
        self._place = 0
        self._settings = ladder(info, store.capabilities, want)

    @property
    def progress(self) -> float:
        """From 0 to 1, done."""
        return self._place / len(self._queries) if self._queries else 1.0

    def step(self) -> bool:
        """Searches for a few queries; false after the last."""
        for query in self._queries[self._place : self._place + STEP_QUERIES]:
            explore(self._store, self._ledger, self._probe(query), self._settings, self._turn)
            self._place += 1
            if self._place == FIRST_QUERIES:
                self._settings = worthwhile(self._ledger.points(self._want), self._settings)
        return self._place < len(self._queries)

    def _probe(self, query: Query) -> Probe:
        want, spec = self._want, self._info.spec
        params = SearchParams(k=want.k, dimension=want.dimension)
        return Probe(
            spec.name, spec.space, query.vector[None], params, want, is_live=False, without=query.id
        )


def worthwhile(points: Sequence[Point], settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Settings that none of the faster ones outdoes; the store's own and exact always.

    Args:
        points: what is known, by time.
        settings: to choose from.
    """
    kept, best = {DEFAULT, EXACT}, -1.0
    own = [point.dial for point in points if point.setting == DEFAULT]
    for point in points:
        if point.recall and point.recall.value > best:
            best = point.recall.value
            if point.dial not in own:
                kept.add(point.setting)
    return tuple(setting for setting in settings if setting in kept)


def is_worth_it(info: CollectionInfo) -> bool:
    """True where searches are not exact anyway."""
    return info.kind not in EXACT_KINDS


def drawn(
    store: Store, info: CollectionInfo, effort: Effort, rng: random.Random, turn: Turn
) -> list[Query]:
    """Rows of a collection, drawn at random, as queries."""
    ids: list[str] = []
    for seen, item in enumerate(_scrolled(store, info.spec.name, effort.scanned_rows, turn)):
        if len(ids) < effort.queries:
            ids.append(item.id)
        elif (place := rng.randrange(seen + 1)) < effort.queries:
            ids[place] = item.id
    rng.shuffle(ids)
    queries = []
    for one in ids:
        with contextlib.suppress(ItemNotFoundError):  # deleted since
            (item,) = store.get(info.spec.name, [one], with_vectors=True)
            assert item.vector is not None  # it was asked for
            queries.append(Query(one, np.asarray(item.vector, np.float32)))
    return queries


def moved(
    store: Store,
    info: CollectionInfo,
    rows: Sequence[Query],
    rng: random.Random,
    turn: Turn,
) -> Sequence[Query]:
    """Where a graph is walked, each row moved as far as another lies from a neighbour of its own.

    A walk finds a row of the graph more easily than what is near a query: on hard data its recall
    was up to 3.4 points too high with rows as queries, with these at most 1.6 too low. The
    difference of two neighbours spreads twice as wide as either does about their centre.
    """
    if info.kind not in GRAPHS:
        return rows
    steps = [_step(store, info, row, rng, turn) / np.float32(math.sqrt(2)) for row in rows]
    return [
        Query(None, row.vector + step)
        for row, step in zip(rows, steps[1:] + steps[:1], strict=True)
    ]


def _step(store: Store, info: CollectionInfo, row: Query, rng: random.Random, turn: Turn) -> Vector:
    """From a neighbour of a row to the row, (dim,) float32; zeros where it has none."""
    params = SearchParams(k=NEIGHBOURS + 1, with_vectors=True)
    spec = info.spec
    with turn():
        (hits,) = store.search(spec.name, row.vector[None], params, space=spec.space).hits
    others = [hit.vector for hit in hits if hit.id != row.id and hit.vector is not None]
    return row.vector - rng.choice(others) if others else np.zeros_like(row.vector)


def _scrolled(store: Store, name: str, rows: int, turn: Turn) -> Iterator[Item]:
    cursor, seen = None, 0
    while seen < rows:
        with turn():
            page = store.scroll(name, cursor=cursor, limit=PAGE_ROWS)
        yield from page.items
        seen += len(page.items)
        cursor = page.cursor
        if cursor is None:
            return
