"""Takes the items of one collection into another in the background, each through a way of vectors.

What the target holds already stays: an item that its own model embedded is never overwritten by a
mapped one, whichever comes first. How far a transfer has come is kept after every batch, so that
it goes on where it was after a restart.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from kokeshi import index, metrics
from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    KokeshiError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from kokeshi.index.filters import ORIGIN, Equals
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.keeping import MAP, ROTATION, TRANSFER, Keeper, Way, kind_of
from kokeshi.service.retrieval.records import RetrievalLimits, Transfer
from kokeshi.service.retrieval.sampling import ids_there, matrix_of

LOG: Final = logging.getLogger(__name__)
RETRIES: Final = 8  # of a batch while the store is busy or away
WAIT_S: Final = 0.5  # before the first of them; doubles
NAME: Final = "transfer"


@dataclass(frozen=True)
class State:
    """What is kept of a transfer; `way` is the kind of note that its way lies in.

    A map belongs to the source, a rotation to the target.
    """

    source: str
    target: str
    tenant: str
    way: str
    state: Literal["running", "done", "failed"] = "running"
    cursor: str | None = None
    read: int = 0
    written: int = 0
    total: int = 0
    recall: float | None = None
    reason: str = ""
    alias: str = ""


class Transfers:
    """Starts, continues and describes transfers.

    Args:
        ground: store and aliases.
        keeper: of ways and of how far transfers have come.
        limits: see `RetrievalLimits`.
    """

    def __init__(self, ground: Ground, keeper: Keeper, limits: RetrievalLimits) -> None:
        self._ground = ground
        self._keeper = keeper
        self._limits = limits
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    async def resume(self) -> None:
        """Goes on with what a stop interrupted."""
        self._stopping.clear()
        for state in await self._ground.call(self._running):
            self._run(state)

    async def close(self) -> None:
        """Stops after the batches that run; what is left is done after the next start."""
        self._stopping.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def start(self, state: State) -> Transfer:
        """Starts a transfer; one that failed is started again from the beginning.

        Raises:
            AlreadyExistsError: the target is being filled already.
        """
        key = (state.target, state.tenant)
        if key in self._tasks:
            raise AlreadyExistsError(f"collection {state.target!r} is being filled already")
        total = await self._ground.call(
            lambda: self._ground.store.count(state.source, tenant=state.tenant)
        )
        state = replace(state, total=total)
        await self._ground.call(lambda: self._keep(state))
        self._run(state)
        return await self._told(state)

    async def describe(self, target: str, tenant: str) -> Transfer:
        """How far the transfer into a collection has come.

        Raises:
            NotFoundError: there was none.
        """
        return await self._told(await self._state(target, tenant))

    async def finish(
        self, target: str, alias: str, tenant: str, least_native_share: float
    ) -> Transfer:
        """Points an alias at the target.

        Raises:
            UnavailableError: the transfer runs still.
            InvalidRequestError: it failed, or too few items were embedded again.
        """
        state = await self._state(target, tenant)
        told = await self._told(state)
        if state.state == "running":
            raise UnavailableError(f"the transfer into {target!r} is at {told.read}/{told.total}")
        if state.state == "failed":
            raise InvalidRequestError(f"the transfer into {target!r} failed: {state.reason}")
        if told.native_share < least_native_share:
            raise InvalidRequestError(
                f"{told.native_share:.4f} of the items of {target!r} were embedded by its own "
                f"model, and {least_native_share!r} are asked for"
            )
        await self._ground.call(lambda: self._swap(state, alias))
        return await self._told(replace(state, alias=alias))

    def _swap(self, state: State, alias: str) -> None:
        taken = {info.spec.name for info in self._ground.store.collections()}
        if alias in taken:
            raise AlreadyExistsError(f"{alias!r} is a collection")
        self._keeper.notes.set_aliases({alias: state.target})
        self._keep(replace(state, alias=alias))

    async def _state(self, target: str, tenant: str) -> State:
        name = (await self._ground.info(target)).spec.name
        found = await self._ground.call(lambda: self._read(name, tenant))
        if found is None:
            raise NotFoundError(f"nothing was transferred into collection {name!r}")
        return found

    def _read(self, target: str, tenant: str) -> State | None:
        known = self._keeper.header(target, kind_of(TRANSFER, tenant), NAME)
        return None if known is None else State(**known)

    def _keep(self, state: State) -> None:
        kept: Mapping[str, Any] = vars(state)
        kind = kind_of(TRANSFER, state.tenant)
        self._keeper.notes.put(state.target, kind, NAME, dict(kept))

    def _running(self) -> list[State]:
        notes = [each for each in self._keeper.notes.list() if each.kind.startswith(TRANSFER)]
        states = (State(**self._keeper.notes.get(*_key(note))) for note in notes)
        return [state for state in states if state.state == "running"]

    async def _told(self, state: State) -> Transfer:
        def shares() -> float:
            store = self._ground.store
            count = store.count(state.target, tenant=state.tenant)
            native = store.count(state.target, filter=Equals(ORIGIN, ""), tenant=state.tenant)
            return native / count if count else 0.0

        share = await self._ground.call(shares)
        self._publish(state, share)
        return Transfer(
            source=state.source,
            target=state.target,
            state=state.state,
            read=state.read,
            written=state.written,
            total=state.total,
            native_share=share,
            recall=state.recall,
            reason=state.reason,
            alias=state.alias,
            tenant=state.tenant,
        )

    def _publish(self, state: State, share: float) -> None:
        if state.tenant:  # the page is everybody's
            return
        done = state.read / state.total if state.total else 1.0
        metrics.TRANSFER_PROGRESS.labels(state.target).set(min(done, 1.0))
        metrics.TRANSFER_NATIVE.labels(state.target).set(share)
        if state.recall is not None:
            metrics.TRANSFER_RECALL.labels(state.target).set(state.recall)

    def _run(self, state: State) -> None:
        key = (state.target, state.tenant)
        task = asyncio.get_running_loop().create_task(self._fill(state))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _fill(self, state: State) -> None:
        try:
            source = (await self._ground.info(state.source)).spec
            target = (await self._ground.info(state.target)).spec
            way = await self._ground.call(lambda: self._way(state, source, target))
            while state.state == "running" and not self._stopping.is_set():
                state = await self._patiently(state, way, source, target)
            await self._told(state)
        except KokeshiError as error:
            LOG.warning("the transfer into %r failed: %s", state.target, error)
            await self._failed(replace(state, state="failed", reason=str(error)))

    async def _failed(self, state: State) -> None:
        try:
            await self._ground.call(lambda: self._keep(state))
        except KokeshiError as error:
            LOG.warning("and that could not be kept: %s", error)

    async def _patiently(
        self, state: State, way: Way, source: index.CollectionSpec, target: index.CollectionSpec
    ) -> State:
        """One batch; waits where the store is busy."""
        for attempt in range(RETRIES):
            try:
                return await self._ground.call(lambda: self._batch(state, way, source, target))
            except (OverloadedError, UnavailableError) as error:
                if attempt == RETRIES - 1:
                    raise
                LOG.info("the transfer into %r waits: %s", state.target, error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), WAIT_S * 2**attempt)
                return state
        raise AssertionError("the last attempt returns or raises")

    def _way(self, state: State, source: index.CollectionSpec, target: index.CollectionSpec) -> Way:
        owner = source.name if state.way == MAP else target.name
        way = self._keeper.way(state.way, owner, source.space, target.space)
        if way is None:
            raise NotFoundError(f"there is no way from {source.name!r} into {target.name!r}")
        return way

    def _batch(
        self, state: State, way: Way, source: index.CollectionSpec, target: index.CollectionSpec
    ) -> State:
        page = self._ground.store.scroll(
            source.name,
            cursor=state.cursor,
            limit=self._limits.transfer_batch_items,
            with_vectors=True,
            tenant=state.tenant,
        )
        items = list(page.items)
        written = self._written(state, way, source, target, items) if items else 0
        state = replace(
            state,
            cursor=page.cursor,
            read=state.read + len(items),
            written=state.written + written,
            state="running" if page.cursor is not None else "done",
        )
        self._keep(state)
        return state

    def _written(
        self,
        state: State,
        way: Way,
        source: index.CollectionSpec,
        target: index.CollectionSpec,
        items: list[index.Item],
    ) -> int:
        """How many of a batch were not in the target yet."""
        vectors = np.asarray(way(matrix_of(items, source.dim)), np.float32)
        # what a rotation gives is as good as what it took; a map's answer is a guess
        rows = [
            index.Item(
                item.id,
                vector,
                item.metadata,
                origin=item.origin if state.way == ROTATION else source.space,
            )
            for item, vector in zip(items, vectors, strict=True)
        ]
        return self._add(state, target, rows)

    def _add(self, state: State, target: index.CollectionSpec, rows: list[index.Item]) -> int:
        """Adds what is not there; what was embedded there meanwhile stays."""
        while rows:
            try:
                receipt = self._ground.store.upsert(
                    target.name, rows, space=target.space, add_only=True, tenant=state.tenant
                )
            except AlreadyExistsError:
                ids = [row.id for row in rows]
                there = ids_there(self._ground.store, target.name, ids, state.tenant)
                rows = [row for row in rows if row.id not in there]
            else:
                return receipt.count
        return 0


def _key(note: Any) -> tuple[str, str, str]:  # noqa: ANN401 - a Note
    return note.collection, note.kind, note.name
