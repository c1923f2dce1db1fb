"""Turns a search of a collection into hits: ranked rows, with what the database says of them."""

from collections.abc import Iterator

import numpy as np
import orjson

from kokeshi.index.collection import Collection
from kokeshi.index.rows import StoredRow
from kokeshi.index.search import Ranking, plan, rank
from kokeshi.index.store import Found, Hit, SearchParams, Vector
from kokeshi.index.truth import Truth
from kokeshi.index.tuning import Tuning


class StaleError(Exception):
    """A row that the search found was replaced or deleted before it could be read."""


def answer(
    truth: Truth, collection: Collection, queries: Vector, params: SearchParams, tuning: Tuning
) -> Found:
    """Searches the newest snapshot of a collection.

    Raises:
        StaleError: search again.
        DamagedRowError: a row that was found is damaged.
    """
    snapshot, geometry = collection.snapshot, collection.geometry
    chosen = plan(geometry, snapshot, params, tuning)
    rankings = rank(geometry, snapshot, queries, chosen)
    wanted = np.unique(np.concatenate([ranking.rows for ranking in rankings]))
    rows = truth.by_rows(collection.number, wanted)
    if len(rows) < len(wanted):
        raise StaleError
    higher_is_better = collection.spec.higher_is_better
    return Found(
        hits=tuple(
            tuple(_hits(ranking, rows, higher_is_better, params.with_vectors))
            for ranking in rankings
        ),
        seq=snapshot.seq,
        dimension=chosen.dimension,
        is_exact=chosen.is_exact,
        higher_is_better=higher_is_better,
    )


def _hits(
    ranking: Ranking, rows: dict[int, StoredRow], higher_is_better: bool, with_vectors: bool
) -> Iterator[Hit]:
    for number, score in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True):
        row = rows[number]
        yield Hit(
            id=row.id,
            score=score if higher_is_better else abs(score),  # never -0.0
            metadata=orjson.loads(row.metadata),
            vector=row.vector.copy() if with_vectors else None,
        )
