"""Measures a collection for people: recall and time of each way to search, and of each length."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from kokeshi.errors import InvalidRequestError
from kokeshi.index.asked import SearchParams
from kokeshi.index.found import RecallEstimate
from kokeshi.index.info import CollectionInfo
from kokeshi.index.recall.curve import Curve
from kokeshi.index.recall.dials import EXACT, Want, rounded
from kokeshi.index.recall.interval import Tally
from kokeshi.index.recall.ledger import Ledger, Point
from kokeshi.index.recall.probing import Probe
from kokeshi.index.recall.surveying import Query, Survey, moved
from kokeshi.index.store import Store

SEED: Final = 0
SURVEY_SHARE: Final = 0.9  # of the work; the rest is for the lengths


@dataclass(frozen=True)
class Length:
    """How well a prefix alone finds the neighbours of the full length, every row compared."""

    dimension: int
    recall: RecallEstimate


@dataclass(frozen=True)
class Report:
    """What was measured of a collection.

    Attributes:
        points: ways to search, by time.
        lengths: trained lengths but for the full one, ascending.
        curve: to be kept, see `kokeshi.index.recall.curve.Keeper`.
    """

    info: CollectionInfo
    k: int
    queries: int
    points: tuple[Point, ...]
    lengths: tuple[Length, ...]
    curve: Curve


def measure(
    store: Store,
    name: str,
    queries: Sequence[Query],
    *,
    k: int = 10,
    progress: Callable[[float], None] = lambda _: None,
) -> Report:
    """Searches a collection in all ways that are worth trying, while nobody else does.

    Args:
        store: to search.
        name: of the collection.
        queries: at least two; an item that is its own query is no neighbour of itself.
        k: neighbours, rounded up to 1, 2, 5, 10, 20, 50 ...
        progress: is told how far it is, from 0 to 1.

    Raises:
        InvalidRequestError: too few queries.
    """
    if len(queries) < 2:  # noqa: PLR2004 - an interval needs two
        raise InvalidRequestError(f"expected at least 2 queries, got {len(queries)}")
    info, ledger, k = store.describe(name), Ledger(), rounded(k)
    want = Want(k, None, is_narrowed=False)
    asked = (
        queries
        if any(query.id is None for query in queries)
        else moved(store, info, queries, random.Random(SEED), nullcontext)
    )
    survey = Survey(store, ledger, info, want, asked, nullcontext)
    while survey.step():
        progress(SURVEY_SHARE * survey.progress)
    lengths = tuple(_lengths(store, info, want, queries))
    progress(1.0)
    curve = Curve(info.spec.space, info.kind, info.count, ledger.measures())
    return Report(info, k, len(queries), tuple(ledger.points(want)), lengths, curve)


def _lengths(
    store: Store, info: CollectionInfo, want: Want, queries: Sequence[Query]
) -> Iterator[Length]:
    """Compares by id: scores of different lengths do not compare."""
    probes = [_probe(info, want, query) for query in queries]
    truths = [_ids(store, probe, want) for probe in probes]
    for dimension in info.spec.trained[:-1]:
        tally, short = Tally(), Want(want.k, dimension, is_narrowed=False)
        for probe, truth in zip(probes, truths, strict=True):
            if truth:
                tally.add(len(truth & _ids(store, probe, short)), len(truth))
        estimate = tally.estimate()
        if estimate is not None:
            yield Length(dimension, estimate)


def _probe(info: CollectionInfo, want: Want, query: Query) -> Probe:
    params = SearchParams(k=want.k)
    spec = info.spec
    return Probe(
        spec.name, spec.space, query.vector[None], params, want, is_live=False, without=query.id
    )


def _ids(store: Store, probe: Probe, want: Want) -> set[str]:
    params = EXACT.apply(probe.asked, want)
    (hits,) = store.search(probe.name, probe.vector, params, space=probe.space).hits
    return {hit.id for hit in probe.others(hits)}
