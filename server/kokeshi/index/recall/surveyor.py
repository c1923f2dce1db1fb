"""Looks for collections whose recall is not known, and surveys them one after the other."""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from kokeshi.errors import KokeshiError
from kokeshi.index.info import CollectionInfo
from kokeshi.index.recall.curve import Curve, Keeper
from kokeshi.index.recall.dials import Want
from kokeshi.index.recall.probing import Turn
from kokeshi.index.recall.state import State
from kokeshi.index.recall.surveying import Effort, Survey, drawn, is_worth_it, moved
from kokeshi.index.store import Store

logger = logging.getLogger(__name__)

SURVEYED_K: Final = 10  # what a collection is surveyed for before anybody asks


@dataclass(frozen=True, eq=False)
class Task:
    """A survey that has begun."""

    state: State
    info: CollectionInfo
    want: Want
    survey: Survey


class Surveyor:
    """Works in pieces, on one thread.

    Args:
        store: to search.
        state_of: what is known of a collection.
        effort: how a collection is surveyed.
        keeper: where curves are kept; None: nowhere.
        turn: around each search.
        seed: of the rows that are drawn.
    """

    def __init__(
        self,
        store: Store,
        state_of: Callable[[str, CollectionInfo], State],
        effort: Effort,
        keeper: Keeper | None,
        turn: Turn,
        seed: int,
    ) -> None:
        self._store = store
        self._state_of = state_of
        self._effort = effort
        self._keeper = keeper
        self._turn = turn
        self._random = random.Random(seed)
        self._task: Task | None = None

    def look(self) -> bool:
        """Does one piece of work; true while there is more."""
        if self._task is None:
            self._task = self._next()
        task = self._task
        if task is None:
            return False
        try:
            if task.survey.step():
                return True
            self._keep(task)
        except KokeshiError as error:  # dropped, or the store cannot search so
            logger.debug("collection %r was not surveyed: %s", task.info.spec.name, error)
        self._task = None
        task.state.surveyed(task.want, task.info)
        return True

    def _next(self) -> Task | None:
        for info in self._store.collections():
            with suppress(KokeshiError):  # dropped, or in quarantine by now
                state = self._state_of(info.spec.name, info)
                for want in self._wants(state, info):
                    if state.needs_survey(want, info):
                        return self._begin(state, info, want)
        return None

    def _wants(self, state: State, info: CollectionInfo) -> list[Want]:
        """Wishes that rows as queries can answer: those that any item may be found for."""
        if not self._effort.queries or info.progress is not None or info.quarantine is not None:
            return []
        if info.count < self._effort.least_rows:
            return []
        wants = [want for want in state.wants if not want.is_narrowed]
        first = Want(SURVEYED_K, None, is_narrowed=False)
        if is_worth_it(info) and first not in wants:
            wants.append(first)
        return wants

    def _begin(self, state: State, info: CollectionInfo, want: Want) -> Task:
        rows = drawn(self._store, info, self._effort, self._random, self._turn)
        queries = moved(self._store, info, rows, self._random, self._turn)
        survey = Survey(self._store, state.ledger, info, want, queries, self._turn)
        return Task(state, info, want, survey)

    def _keep(self, task: Task) -> None:
        if self._keeper is None:
            return
        info = task.info
        curve = Curve(info.spec.space, info.kind, info.count, task.state.ledger.measures())
        self._keeper.save(info.spec.name, curve.encoded())
