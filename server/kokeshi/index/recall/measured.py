"""The store that knows its recall, see `kokeshi.index.recall`."""

import functools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kokeshi import metrics
from kokeshi.index.asked import SearchParams
from kokeshi.index.found import Found, RecallEstimate
from kokeshi.index.info import CollectionInfo
from kokeshi.index.passing import PassingStore
from kokeshi.index.recall.choosing import Choice, by_budget, by_recall, check_wish
from kokeshi.index.recall.curve import Keeper, decoded
from kokeshi.index.recall.dials import (
    Dial,
    Want,
    dial_of,
    ladder,
    setting_of,
    want_of,
)
from kokeshi.index.recall.ledger import EXACTLY, Fading, Point
from kokeshi.index.recall.probing import Probe, Seen, explore, is_exact_dial
from kokeshi.index.recall.shadow import Pace, Shadow
from kokeshi.index.recall.state import State
from kokeshi.index.recall.surveying import GROWTH, Effort
from kokeshi.index.recall.surveyor import Surveyor
from kokeshi.index.store import Store


@dataclass(frozen=True)
class Sampling:
    """Which searches are repeated.

    Attributes:
        share: of all.
        least_every_s: of each dial at least one in so many seconds, while there are any.
        explored: other settings that a repeated query is searched by too, where somebody wants a
            choice.
        writes_between: a search and its repetition; with more it is not counted, where the store's
            numbers count writes.
        seed: of the choice.
    """

    share: float = 0.01
    least_every_s: float = 60.0
    explored: int = 3
    writes_between: int = 1000
    seed: int = 0


class Measured(PassingStore):
    """See `kokeshi.index.store.Store`; answers carry `Found.recall`.

    Args:
        inner: the store.
        sampling: which searches are repeated.
        pace: what that may cost.
        effort: how collections are surveyed before the first search.
        fading: how soon old samples stop to count.
        keeper: where curves are kept between starts, closed with the store; None: nowhere.
    """

    def __init__(
        self,
        inner: Store,
        *,
        sampling: Sampling | None = None,
        pace: Pace | None = None,
        effort: Effort | None = None,
        fading: Fading | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(inner)
        self._sampling = sampling or Sampling()
        self._fading = fading or Fading()
        self._keeper = keeper
        self._random = random.Random(self._sampling.seed)
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._searching = 0
        able = inner.capabilities
        self._can_repeat = able.exact
        self._writes_between = self._sampling.writes_between if able.counts_writes else None
        self._shadow = Shadow(pace or Pace(), lambda: self._searching == 0)
        surveyor = Surveyor(
            inner, self._state, effort or Effort(), keeper, self._shadow.turn, self._sampling.seed
        )
        self._shadow.start(surveyor.look if self._can_repeat else lambda: False)

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        with self._counted():
            started_s = time.perf_counter()
            found = self.inner.search(name, vectors, params, space=space)
            took_s = time.perf_counter() - started_s
        state, dial = self._state(name), dial_of(found, params)
        want, setting = want_of(state.spec, params), setting_of(params)
        if setting is not None and state.has(want, setting):
            state.ledger.ran(want, setting, dial, is_exact=is_exact_dial(found))
        if len(found.hits) == 1:
            state.ledger.took(dial, took_s, is_live=True)
        if self._is_sampled(state, dial, want, found):
            self._sample(state, np.asarray(vectors), params, space, found)
        recall = EXACTLY if found.is_exact else state.ledger.estimate(dial)
        return replace(found, recall=recall)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self.inner.drop(name)
        with self._lock:
            self._states.pop(name, None)

    def close(self) -> None:
        """See `Store.close`."""
        self._shadow.close()
        if self._keeper is not None:
            self._keeper.close()
        self.inner.close()

    def choose(
        self,
        name: str,
        params: SearchParams,
        *,
        recall_target: float | None = None,
        budget_ms: float | None = None,
    ) -> Choice:
        """How to search for a recall, or within a time.

        Args:
            name: the collection.
            params: of the search; of its dials only the length of the scores is looked at: the
                full one with `rerank`, else `dimension`.
            recall_target: share of the true neighbours that should be found, in (0, 1].
            budget_ms: time that 95 of 100 searches should take at most, in milliseconds.

        Raises:
            InvalidRequestError: not exactly one wish, or one out of bounds.
        """
        check_wish(recall_target, budget_ms)
        info = self.inner.describe(name)
        want = want_of(info.spec, params)
        settings = ladder(info, self.capabilities, want)
        state = self._state(name, info)
        if state.wish(want, settings):
            self._shadow.wake()
        points = state.ledger.recent_points(want)
        if recall_target is not None:
            pick = by_recall(points, settings, recall_target)
        else:
            pick = by_budget(points, (budget_ms or 0.0) / 1000)
        return Choice(pick.setting.apply(params, want), pick.recall, pick.tail_s, pick.basis)

    def estimate(self, name: str, found: Found, params: SearchParams) -> RecallEstimate | None:
        """Recall of searches that went as one did; None where none was measured yet."""
        return (
            EXACTLY if found.is_exact else self._state(name).ledger.estimate(dial_of(found, params))
        )

    def points(self, name: str, params: SearchParams) -> list[Point]:
        """What is known of searches like one, by time."""
        want = want_of(self.inner.describe(name).spec, params)
        return self._state(name).ledger.points(want)

    def wait_measured(self, timeout_s: float = 60.0) -> bool:
        """Waits until nothing is left to measure; false when time runs out."""
        return self._shadow.wait_done(timeout_s)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._searching += 1
        try:
            yield
        finally:
            with self._lock:
                self._searching -= 1

    def _state(self, name: str, info: CollectionInfo | None = None) -> State:
        """What is known of a collection; nothing, where `info` tells that it is another one."""
        state = self._states.get(name)
        if state is not None and (info is None or info.spec == state.spec):
            return state
        info = info or self.inner.describe(name)
        state = State(info.spec, self._fading)
        if self._keeper is not None:
            _load(state, info, self._keeper)
        with self._lock:
            self._states[name] = state
        return state

    def _is_sampled(self, state: State, dial: Dial, want: Want, found: Found) -> bool:
        is_fresh = state.is_fresh(want)
        if not self._can_repeat or (is_exact_dial(found) and not is_fresh):
            return False
        is_due = state.is_due(dial, time.monotonic(), self._sampling.least_every_s)
        return is_fresh or is_due or self._random.random() < self._sampling.share

    def _sample(
        self,
        state: State,
        vectors: npt.NDArray[np.generic],
        params: SearchParams,
        space: str,
        found: Found,
    ) -> None:
        """Queues one of the queries of a call to be repeated."""
        row = self._random.randrange(len(found.hits))
        dial = dial_of(found, params)
        want = want_of(state.spec, params)
        vector = np.array(vectors[row : row + 1], np.float32)  # a copy: the caller may change it
        probe = Probe(state.spec.name, space, vector, params, want, is_live=True)
        seen = None if is_exact_dial(found) else self._seen(dial, found, row)
        if self._shadow.offer(functools.partial(self._repeat, probe, seen)):
            state.sampled(dial, time.monotonic())

    def _seen(self, dial: Dial, found: Found, row: int) -> Seen:
        return Seen(dial, found.hits[row], found.seq, self._writes_between)

    def _repeat(self, probe: Probe, seen: Seen | None) -> None:
        state = self._states.get(probe.name)
        if state is None:  # dropped
            return
        settings = state.to_explore(probe.want, self._sampling.explored)
        explore(self.inner, state.ledger, probe, settings, self._shadow.turn, seen)
        if seen is not None:
            _expose(probe.name, seen.dial, state.ledger.estimate(seen.dial))


def _load(state: State, info: CollectionInfo, keeper: Keeper) -> None:
    kept = keeper.load(info.spec.name)
    curve = None if kept is None else decoded(kept)
    if curve is not None and curve.fits(info, GROWTH):
        state.adopt(curve, info)


def _expose(name: str, dial: Dial, recall: RecallEstimate | None) -> None:
    if recall is None:
        return
    labels = (name, dial.label)
    metrics.SEARCH_RECALL.labels(*labels).set(recall.value)
    metrics.SEARCH_RECALL_LOW.labels(*labels).set(recall.low)
    metrics.SEARCH_RECALL_HIGH.labels(*labels).set(recall.high)
    metrics.SEARCH_RECALL_SAMPLES.labels(*labels).set(recall.samples)
