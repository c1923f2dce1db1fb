"""Searches: queries made, dials turned, hits shaped."""

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kokeshi import index, metrics
from kokeshi.errors import InvalidRequestError, UnavailableError
from kokeshi.index.filters import And, Exists, Filter, In, Not
from kokeshi.service.classify import check_k
from kokeshi.service.collections import shaping
from kokeshi.service.collections.dials import Dials, check_dials, is_open, turned
from kokeshi.service.collections.ground import Ground, given_vector
from kokeshi.service.collections.keeping import wanted_of
from kokeshi.service.collections.pace import Pace
from kokeshi.service.collections.pages import Place, fingerprint
from kokeshi.service.collections.queries import Queries, given_queries, queries_of
from kokeshi.service.search_types import Found, Group, Hit, RecallEstimate, Route, SearchOptions
from kokeshi.service.types import Input

K: Final = 10
MAX_HITS: Final = 100_000  # of all queries of one call, as the stores have it
DEEPER: Final = 4  # a search that found too few of what is wanted goes so many times as deep


@dataclass(frozen=True, eq=False)
class Begun:
    """A search whose words are checked.

    Attributes:
        k: hits, or groups, per query.
        params: of the store, for k hits.
        place: where the page before it ended; None: it is the first.
    """

    spec: index.CollectionSpec
    asked: SearchOptions
    k: int
    params: index.SearchParams
    place: Place | None

    def of(self, queries: Queries) -> "Search":
        """The search of some queries."""
        excluded = frozenset(self.asked.exclude_ids)
        left_out = [excluded | own for own in queries.own]
        return Search(self.spec, self.asked, self.k, self.params, self.place, queries, left_out)


@dataclass(frozen=True, eq=False)
class Search(Begun):
    """A search whose vectors are there.

    Attributes:
        left_out: of each query, ids that are no hits.
    """

    queries: Queries
    left_out: Sequence[frozenset[str]]


class Searching:
    """The calls that search.

    Args:
        ground: store and models.
        dials: choose the depth of a search; None: nothing is measured.
    """

    def __init__(self, ground: Ground, dials: Dials | None) -> None:
        self._ground = ground
        self._dials = dials
        self._turns = threading.BoundedSemaphore(ground.collection_limits.store_threads)
        self._pace = Pace()

    async def search(
        self, name: str, inputs: Sequence[Input], asked: SearchOptions, timeout_s: float | None
    ) -> Found:
        """See `Service.search`."""
        begun = await self._ground.call(lambda: self._in_one_turn(name, inputs, asked))
        if isinstance(begun, Found):
            return begun
        queries = await queries_of(self._ground, begun.spec, inputs, asked, timeout_s)
        return await self._ground.call(lambda: self._timed(begun.of(queries)))

    async def prepare(
        self, name: str, inputs: Sequence[Input], asked: SearchOptions, timeout_s: float | None
    ) -> Search:
        """Checks a search and makes its vectors."""
        begun = await self._ground.call(lambda: self._begun(name, inputs, asked))
        return begun.of(await queries_of(self._ground, begun.spec, inputs, asked, timeout_s))

    def search_at_once(
        self, name: str, inputs: Sequence[Input], asked: SearchOptions
    ) -> Found | None:
        """See `Service.search_at_once`."""
        is_given = len(inputs) == 1 and given_vector(inputs[0]) is not None
        if not is_given or not self._pace.is_quick(_kind(name, asked)):
            return None
        if not self._turns.acquire(blocking=False):
            return None
        try:
            found = self._in_one_turn(name, inputs, asked)
        except UnavailableError:  # `search` tries it again
            return None
        finally:
            self._turns.release()
        return found if isinstance(found, Found) else None

    def _in_one_turn(
        self, name: str, inputs: Sequence[Input], asked: SearchOptions
    ) -> Found | Begun:
        """Answers a search that comes with its vectors: another turn of a thread costs 0.1 ms."""
        started_s = time.perf_counter()
        begun = self._begun(name, inputs, asked)
        queries = given_queries(self._ground, begun.spec, inputs, asked)
        if queries is None:
            return begun
        found = self._timed(begun.of(queries))
        if len(inputs) == 1:
            self._pace.saw(_kind(name, asked), time.perf_counter() - started_s)
        return found

    def _timed(self, search: Search) -> Found:
        with metrics.SEARCH_SECONDS.labels(search.spec.name).time():
            return self._answer(search)

    def _begun(self, name: str, inputs: Sequence[Input], asked: SearchOptions) -> Begun:
        _check(asked, self._ground)
        info = self._ground.found(name)
        spec = info.spec
        count = len(inputs) + len(asked.query_ids) + len(asked.examples)
        most = self._ground.limits.max_k
        default = K if asked.threshold is None else min(most, MAX_HITS // max(count, 1))
        k = check_k("k", asked.k, default, most)
        if count * k > MAX_HITS:
            raise InvalidRequestError(
                f"queries times k must not exceed {MAX_HITS}, got {count} times {k}"
            )
        if asked.collapse is not None and spec.metric == "hyperbolic":
            raise InvalidRequestError("points of a hyperbolic space have no cosine to collapse by")
        place = _place(spec, asked, count)
        wish = index.SearchParams(
            k=k,
            with_vectors=asked.with_vectors or asked.collapse is not None,
            filter=_filter(asked),
            tenant=asked.tenant,
            threshold=asked.threshold,
            min_seq=max(asked.min_sequence, place.sequence if place else 0),
        )
        params = turned(self._dials, spec, asked, wish)
        return Begun(spec, asked, k, self._planned(info, asked, params, place), place)

    def _planned(
        self,
        info: index.CollectionInfo,
        asked: SearchOptions,
        params: index.SearchParams,
        place: Place | None,
    ) -> index.SearchParams:
        """Two stages whose shortlist nobody chose, with the one that was measured, if any was."""
        planning = self._ground.planning
        if planning is None or not params.rerank or not is_open(asked):
            return params
        k = params.k + len(asked.exclude_ids) + (place.served if place else 0)
        found = planning.shortlist(info, k, asked.tenant)
        if found is None:
            return params
        return replace(params, dimension=found.dimension, shortlist=found.rows)

    def _answer(self, search: Search) -> Found:
        if search.asked.group_by:
            return self._grouped(search)
        spare = max(map(len, search.left_out))
        served = search.place.served if search.place else 0
        if served + search.k > self._ground.limits.max_k:
            raise InvalidRequestError(
                f"pages end at {self._ground.limits.max_k} hits, of which {served} were served"
            )
        width = self._width(search.k + spare + served, len(search.queries.matrix))
        while True:
            found = self.run(search, replace(search.params, k=width))
            results = [
                self._shaped(search, hits, left_out, higher_is_better=found.higher_is_better)
                for hits, left_out in zip(found.hits, search.left_out, strict=True)
            ]
            is_short = any(
                len(result) < search.k and len(hits) == width
                for result, hits in zip(results, found.hits, strict=True)
            )
            deeper = self._width(DEEPER * width, len(search.queries.matrix))
            if not is_short or deeper == width:
                return self._found(search, found, results)
            width = deeper

    def _width(self, wanted: int, queries: int) -> int:
        return min(wanted, MAX_HITS // queries, self._ground.limits.max_k)

    def run(self, search: Search, params: index.SearchParams) -> index.Found:
        """One search of the store."""
        if params.shortlist is not None:
            params = replace(params, shortlist=max(params.shortlist, params.k))
        return self._ground.store.search(
            search.spec.name, search.queries.matrix, params, space=search.spec.space
        )

    def _shaped(
        self,
        search: Search,
        hits: Sequence[index.Hit],
        left_out: frozenset[str],
        *,
        higher_is_better: bool,
    ) -> list[Hit]:
        asked = search.asked
        if search.place is not None:
            hits = search.place.after(hits, higher_is_better=higher_is_better)
        rest = shaping.without(hits, left_out)
        if asked.collapse is not None:
            return shaping.collapsed(
                rest, asked.collapse, search.k, with_vectors=asked.with_vectors
            )
        return [shaping.told(hit) for hit in rest[: search.k]]

    def _found(
        self,
        search: Search,
        found: index.Found,
        results: Sequence[Sequence[Hit]],
        groups: Sequence[Sequence[Group]] = (),
    ) -> Found:
        recall = found.recall
        return Found(
            results,
            search.spec.space,
            found.dimension,
            found.higher_is_better,
            groups=groups,
            sequence=found.seq,
            exact=found.is_exact,
            proven_exact=found.is_proven,
            route=route_of(found),
            recall_estimate=None
            if recall is None
            else RecallEstimate(recall.value, recall.low, recall.high, recall.samples),
            next_page_token=self._token(search, found, results),
        )

    def _token(self, search: Search, found: index.Found, results: Sequence[Sequence[Hit]]) -> str:
        asked = search.asked
        if len(results) != 1 or asked.group_by or asked.collapse is not None:
            return ""
        served = (search.place.served if search.place else 0) + len(results[0])
        if len(results[0]) < search.k or served >= self._ground.limits.max_k:
            return ""
        last = results[0][-1]
        known = fingerprint(search.spec.name, asked)
        return Place(last.score, last.id, served, found.seq, known).token()

    def _grouped(self, search: Search) -> Found:
        size = search.asked.group_size or 1
        found = self.run(search, replace(search.params, k=self._group_width(search, size)))
        groups = [self._fill(search, place, hits, size) for place, hits in enumerate(found.hits)]
        return self._found(search, found, [], groups)

    def _group_width(self, search: Search, size: int) -> int:
        spare = max(map(len, search.left_out))
        return self._width(DEEPER * search.k * size + spare, len(search.queries.matrix))

    def _fill(
        self, search: Search, place: int, hits: Sequence[index.Hit], size: int
    ) -> Sequence[Group]:
        """Groups of one query: first as many as were asked for, then hits for each of them."""
        asked = search.asked
        groups = shaping.Groups(asked.group_by, search.k, size)
        width = self._group_width(search, size)
        one = replace(
            search,
            queries=Queries(search.queries.matrix[place : place + 1], [frozenset()]),
            left_out=[search.left_out[place]],
        )
        for _ in range(self._ground.collection_limits.max_rounds):
            rest = shaping.without(hits, search.left_out[place])
            groups.add(rest, with_vectors=asked.with_vectors)
            if len(hits) < width or (groups.is_full and not groups.open):
                break
            if not (groups.is_full or groups.filled):  # values that no group can have
                break
            params = replace(search.params, k=width, filter=_narrowed(search, groups))
            (hits,) = self.run(one, params).hits
        return groups.told()


def _kind(name: str, asked: SearchOptions) -> Hashable:
    """What makes a search quick or slow, in the main."""
    return name, asked.mode, asked.filter is None, bool(asked.group_by)


def route_of(found: index.Found) -> Route:
    """How a search went, as the service tells it."""
    return Route(found.route.kind, found.route.first, found.route.shortlist, found.route.breadth)


def _narrowed(search: Search, groups: shaping.Groups) -> Filter:
    """The filter of the next round: of open groups, or of all but those that are filled."""
    field = search.asked.group_by
    assert search.params.filter is not None
    rest = In(field, tuple(groups.open)) if groups.is_full else Not(In(field, tuple(groups.filled)))
    return And((search.params.filter, rest))


def _filter(asked: SearchOptions) -> Filter | None:
    wanted = wanted_of(asked.filter)
    if not asked.group_by:
        return wanted
    there = Exists(asked.group_by)  # what lacks the field is in no group
    return there if wanted is None else And((wanted, there))


def _place(spec: index.CollectionSpec, asked: SearchOptions, queries: int) -> Place | None:
    if not asked.page_token:
        return None
    if queries != 1 or asked.group_by or asked.collapse is not None:
        raise InvalidRequestError("pages are of one query, neither grouped nor collapsed")
    return Place.read(asked.page_token, fingerprint(spec.name, asked))


def _check(asked: SearchOptions, ground: Ground) -> None:
    check_dials(asked)
    if asked.group_by and asked.collapse is not None:
        raise InvalidRequestError("expected group_by or collapse, got both")
    if asked.group_size is not None and not asked.group_by:
        raise InvalidRequestError("a group_size is of group_by, which is not given")
    check_k("group_size", asked.group_size, 1, ground.limits.max_k)
    if asked.collapse is not None and not -1 <= asked.collapse <= 1:
        raise InvalidRequestError(f"collapse is a cosine from -1 to 1, not {asked.collapse}")
    most = ground.collection_limits.max_excluded
    if len(asked.exclude_ids) > most:
        raise InvalidRequestError(
            f"a search leaves out at most {most} ids, not {len(asked.exclude_ids)}"
        )
