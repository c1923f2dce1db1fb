"""Turns a search of a collection into hits: ranked rows, with what the database says of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from kokeshi.index.asked import SearchParams
from kokeshi.index.collection import Collection
from kokeshi.index.found import Found, Hit
from kokeshi.index.geometry import Rows
from kokeshi.index.heads import Heads
from kokeshi.index.items import Vector
from kokeshi.index.plan import plan
from kokeshi.index.rows import RowHead, StoredRow
from kokeshi.index.search import Ranking, rank
from kokeshi.index.truth import Truth


class StaleError(Exception):
    """A row that the search found was replaced or deleted before it could be read."""


@dataclass(frozen=True)
class Source:
    """Where hits are read from."""

    truth: Truth
    heads: Heads


def answer(source: Source, collection: Collection, queries: Vector, params: SearchParams) -> Found:
    """Searches the newest snapshot of a collection.

    Raises:
        StaleError: search again.
        UnavailableError: a row that was found is damaged.
    """
    with collection.guarded():
        return _answer(source, collection, queries, params)


def _answer(source: Source, collection: Collection, queries: Vector, params: SearchParams) -> Found:
    snapshot, spec = collection.snapshot, collection.spec
    masks = snapshot.allowed(params.tenant, params.filter)
    chosen = plan(spec, snapshot, params, collection.tuning, snapshot.counted(masks))
    rankings = rank(collection.geometry, snapshot, masks, queries, chosen)
    if params.threshold is not None:
        least = params.threshold if spec.higher_is_better else -params.threshold
        rankings = [ranking.reaching(least) for ranking in rankings]
    rows = _read(source, collection, rankings, params)
    is_exact = all(ranking.is_exact for ranking in rankings)
    return Found(
        hits=tuple(
            tuple(_hits(ranking, rows, higher_is_better=spec.higher_is_better))
            for ranking in rankings
        ),
        seq=snapshot.seq,
        dimension=chosen.dimension,
        is_exact=is_exact,
        higher_is_better=spec.higher_is_better,
        route=chosen.route,
        is_proven=is_exact and not chosen.is_exact,
    )


def _read(
    source: Source, collection: Collection, rankings: Sequence[Ranking], params: SearchParams
) -> Mapping[int, RowHead | StoredRow]:
    wanted: Rows = rankings[0].rows
    if len(rankings) > 1:
        wanted = np.unique(np.concatenate([ranking.rows for ranking in rankings]))
    read = source.truth.by_rows if params.with_vectors else source.heads.by_rows
    rows = read(collection.number, wanted)
    if len(rows) < len(wanted):
        raise StaleError
    # the mask of the tenant was there already; what it guards is worth a second look
    if any(row.tenant != params.tenant for row in rows.values()):
        raise StaleError
    return rows


def _hits(
    ranking: Ranking, rows: Mapping[int, RowHead | StoredRow], *, higher_is_better: bool
) -> Iterator[Hit]:
    for number, score in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True):
        row = rows[number]
        yield Hit(
            id=row.id,
            score=score if higher_is_better else abs(score),  # never -0.0
            metadata=orjson.loads(row.metadata),
            vector=row.vector.copy() if isinstance(row, StoredRow) else None,
        )
