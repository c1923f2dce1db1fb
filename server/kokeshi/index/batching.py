"""Searches that come at the same time and ask alike go to the store as one call.

    store = Batched(EmbeddedStore(directory))

`Batched` is a `Store`. A search that is alone goes through at once; those that come while it runs
wait for it, and go as one call, led by the thread of the first of them: reading the rows once for
many queries, and a matrix product in place of many products with a vector, is what they gain.

Clients that were answered together ask again together. Where most of them are not there yet when
the next batch begins, it waits for them a moment, which is short beside what it waited already.
"""

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.index.asked import SearchParams
from kokeshi.index.checks import MAX_HITS, QUERY_AXES
from kokeshi.index.found import Found
from kokeshi.index.kernels import usable_cores
from kokeshi.index.passing import PassingStore
from kokeshi.index.store import Store

MAX_QUERIES: Final = 64  # a pass of the scans; longer batches only make the first ones wait
PAUSE_SHARE: Final = 0.1  # of the time of the batch before
MAX_PAUSE_S: Final = 0.01
# What is walked is walked query by query: one call would do on one core what two can do on two.
WALKED: Final = frozenset({"hnsw", "ivf", "panorama"})

_Queries = npt.NDArray[Any]


class _Call:
    """A search of one caller; `turn` is open when it is answered, or is to lead the next batch."""

    __slots__ = ("error", "found", "is_leading", "pause_s", "queries", "turn")

    def __init__(self, queries: _Queries) -> None:
        self.queries = queries
        self.found: Found | None = None
        self.error: BaseException | None = None
        self.is_leading = False
        self.pause_s = 0.0
        # opened once; an event would make a lock and a condition for every search that is alone
        self.turn = threading.Lock()
        self.turn.acquire()


class _Batch(NamedTuple):
    """A batch that has ended."""

    key: Hashable
    calls: int
    took_s: float
    ended_s: float


class Batched(PassingStore):
    """See `kokeshi.index.store.Store`; the answer to a merged search is the answer alone.

    But `Found.is_exact` and `Found.is_proven` hold for all searches of a batch, or are false.

    Args:
        inner: the store; it should compute a batch faster than its queries one by one.
        max_queries: of one call to it; searches of more go by themselves.
        max_pause_s: that a batch waits for clients which were just answered.
        walked: kinds of `Route` whose searches go by themselves ...
        walks: ... so many of them at a time; None: one per core.
    """

    def __init__(
        self,
        inner: Store,
        *,
        max_queries: int = MAX_QUERIES,
        max_pause_s: float = MAX_PAUSE_S,
        walked: frozenset[str] = WALKED,
        walks: int | None = None,
    ) -> None:
        super().__init__(inner)
        self._max_queries = max_queries
        self._max_pause_s = max_pause_s
        self._walked = walked
        # more of them only take the interpreter from each other: with 16 clients on two cores half
        # as many would be answered, and the last ones after ten times as long
        self._walking = threading.BoundedSemaphore(walks or usable_cores())
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, deque[_Call]] = {}
        self._last = _Batch(None, 0, 0.0, 0.0)
        self._last_kinds: dict[tuple[Hashable, ...], str] = {}

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        queries = _stackable(vectors)
        if queries is None or len(queries) > self._most(params):
            return self.inner.search(name, vectors, params, space=space)
        # what makes a route, but for the filter, of which there may be any number
        road = (name, params.dimension, params.rerank, params.exact, params.filter is None)
        if self._last_kinds.get(road) in self._walked:
            with self._walking:
                found = self.inner.search(name, queries, params, space=space)
        else:
            found = self._merged(name, queries, params, space)
        self._last_kinds[road] = found.route.kind
        return found

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self.inner.drop(name)
        for road in [road for road in list(self._last_kinds) if road[0] == name]:
            self._last_kinds.pop(road, None)

    def _most(self, params: SearchParams) -> int:
        return max(1, min(self._max_queries, MAX_HITS // max(1, params.k)))

    def _merged(self, name: str, queries: _Queries, params: SearchParams, space: str) -> Found:
        # equality takes True for 1, a filter does not: what it is written as tells them apart
        wanted = params.filter
        alike = params if wanted is None else (replace(params, filter=None), repr(wanted))
        key = (name, space, alike, queries.shape[1], queries.dtype)
        call = _Call(queries)
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                self._lanes[key] = deque()
                call.is_leading = True
                call.pause_s = self._pause_after(key)
            else:
                lane.append(call)
        if lane is not None:
            call.turn.acquire()
        if call.is_leading:
            self._lead(key, call, name, params, space)
        return _result(call)

    def _pause_after(self, key: Hashable) -> float:
        """Seconds that the first one who comes again after a batch waits for the others."""
        last = self._last
        is_over = time.perf_counter() - last.ended_s > self._max_pause_s
        if last.key != key or last.calls == 1 or is_over:
            return 0.0
        return min(self._max_pause_s, PAUSE_SHARE * last.took_s)

    def _lead(
        self, key: Hashable, call: _Call, name: str, params: SearchParams, space: str
    ) -> None:
        if call.pause_s:
            time.sleep(call.pause_s)
        with self._lock:
            room = self._most(params) - len(call.queries)
            batch = [call, *_taken(self._lanes[key], room)]
        started_s = time.perf_counter()
        try:
            self._run(batch, name, params, space)
        finally:
            self._hand_on(key, batch, time.perf_counter() - started_s)

    def _run(self, batch: Sequence[_Call], name: str, params: SearchParams, space: str) -> None:
        """Answers all calls of a batch; where one is wrong, each by itself."""
        try:
            queries = batch[0].queries
            if len(batch) > 1:
                queries = np.concatenate([call.queries for call in batch])
            found = self.inner.search(name, queries, params, space=space)
        except BaseException as error:
            # any other error is not about the queries of one of them: they would all wait for it
            if len(batch) > 1 and isinstance(error, InvalidRequestError):
                for call in batch:
                    self._run([call], name, params, space)
                return
            for call in batch:
                call.error = error
        else:
            _share_out(found, batch)

    def _hand_on(self, key: Hashable, batch: Sequence[_Call], took_s: float) -> None:
        """Lets the next batch begin, and tells the calls of this one."""
        with self._lock:
            self._last = _Batch(key, len(batch), took_s, time.perf_counter())
            lane = self._lanes[key]
            following = lane.popleft() if lane else None
            if following is None:
                del self._lanes[key]
            elif 1 + len(lane) < len(batch) / 2:
                following.pause_s = min(self._max_pause_s, PAUSE_SHARE * took_s)
        if following is not None:
            following.is_leading = True
            following.turn.release()
        for call in batch[1:]:
            call.turn.release()


def _stackable(vectors: npt.ArrayLike) -> _Queries | None:
    """(queries, length) numbers; None for what the store has to refuse."""
    try:
        queries = np.asarray(vectors)
    except ValueError:
        return None
    if queries.ndim != QUERY_AXES or not len(queries) or queries.dtype.kind not in "fiu":
        return None
    return queries


def _taken(lane: deque[_Call], most: int) -> list[_Call]:
    """Takes the first calls that together have no more queries than may be."""
    taken: list[_Call] = []
    room = most
    while lane and len(lane[0].queries) <= room:
        room -= len(lane[0].queries)
        taken.append(lane.popleft())
    return taken


def _share_out(found: Found, batch: Sequence[_Call]) -> None:
    start = 0
    for call in batch:
        stop = start + len(call.queries)
        call.found = found if len(batch) == 1 else replace(found, hits=found.hits[start:stop])
        start = stop


def _result(call: _Call) -> Found:
    error, call.error = call.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # or it would hold this frame, which holds it
    assert call.found is not None  # it was answered
    return call.found
