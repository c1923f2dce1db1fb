"""Collections: embeds what comes in, keeps it, finds the nearest."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from kokeshi import index, metrics
from kokeshi.card import Card
from kokeshi.contract import Task
from kokeshi.errors import (
    CollectionNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    SpaceMismatchError,
    WrongTaskError,
)
from kokeshi.service.classify import check_k
from kokeshi.service.embed import vectors
from kokeshi.service.run import IMAGE, TEXT, Runner, kind_of
from kokeshi.service.types import (
    CollectionInfo,
    Found,
    Hit,
    Input,
    ItemPage,
    Limits,
    NewItem,
    OnConflict,
    SearchMode,
    StoredItem,
    Tensor,
    Written,
)

K: Final = 10
PAGE_ITEMS: Final = 100
T = TypeVar("T")


class Collections:
    """The collection calls of `Service`.

    Args:
        runner: embeds images and texts.
        store: keeps vectors; its calls block, so they run on threads of their own.
        limits: sizes that requests must keep.
        threads: calls to the store that run at once.
    """

    def __init__(
        self, runner: Runner, store: index.Store, limits: Limits, *, threads: int = 4
    ) -> None:
        self._runner = runner
        self._store = store
        self._limits = limits
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")

    def close(self) -> None:
        """Finishes the calls that run, then the store."""
        self._threads.shutdown()
        self._store.close()

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def create(
        self, name: str, model: str, *, index_kind: str, durability: str
    ) -> CollectionInfo:
        """See `Service.create_collection`."""
        card = self._embedder(model)
        output = card.output_for(Task.EMBEDDING)
        spec = index.CollectionSpec(
            name=name,
            space=card.space,
            dim=output.shape[-1],
            model=model,
            dimensions=output.dimensions,
            metric=output.metric,
            index=index_kind,  # type: ignore[arg-type]  # the store checks the word
            durability=durability,  # type: ignore[arg-type]
        )
        return self._told(await self._call(lambda: self._store.create(spec)))

    def _embedder(self, model: str) -> Card:
        """The card of a model that embeds; of two towers, the image's."""
        try:
            card = self._runner.card(model, kind=IMAGE)
        except WrongTaskError:
            card = self._runner.card(model, kind=TEXT)
        return card

    async def list(self) -> Sequence[CollectionInfo]:
        """See `Service.list_collections`."""
        return [self._told(info) for info in await self._call(self._store.collections)]

    async def describe(self, name: str) -> CollectionInfo:
        """See `Service.describe_collection`."""
        return self._told(await self._info(name))

    async def drop(self, name: str) -> None:
        """See `Service.delete_collection`."""
        await self._call(lambda: self._store.drop(name))
        metrics.forget_collection(name)

    async def _info(self, name: str) -> index.CollectionInfo:
        return await self._call(lambda: self._store.describe(name))

    def _told(self, info: index.CollectionInfo) -> CollectionInfo:
        metrics.COLLECTION_ITEMS.labels(info.spec.name).set(info.count)
        return CollectionInfo(
            name=info.spec.name,
            model=info.spec.model,
            space=info.spec.space,
            dimension=info.spec.dim,
            dimensions=info.spec.trained,
            metric=info.spec.metric,
            index=info.spec.index,
            durability=info.spec.durability,
            count=info.count,
            sequence=info.seq,
            indexed_sequence=info.covered_seq,
            index_in_use=info.kind,
        )

    async def add(
        self,
        name: str,
        items: Sequence[NewItem],
        *,
        on_conflict: OnConflict,
        request_id: str,
        space: str,
        timeout_s: float | None,
    ) -> Written:
        """See `Service.add_items`."""
        if not 1 <= len(items) <= self._limits.max_inputs:
            raise InvalidRequestError(
                f"a call adds 1 to {self._limits.max_inputs} items, not {len(items)}"
            )
        spec = (await self._info(name)).spec
        inputs = [item.input for item in items]
        found = await self._vectors(spec, spec.model, inputs, space, timeout_s)
        rows = [
            index.Item(item.id, vector, item.metadata)
            for item, vector in zip(items, found, strict=True)
        ]
        started_s = time.perf_counter()
        receipt = await self._call(
            lambda: self._store.upsert(
                name,
                rows,
                space=spec.space,
                request_id=request_id or None,
                add_only=on_conflict is OnConflict.FAIL,
            )
        )
        metrics.WRITE_SECONDS.labels(name).observe(time.perf_counter() - started_s)
        await self._recount(name)
        return Written(receipt.count, receipt.seq)

    async def _recount(self, name: str) -> None:
        """Sets the gauge after a write; who dropped the collection meanwhile does not undo it."""
        with suppress(CollectionNotFoundError):
            await self.describe(name)

    async def _vectors(
        self,
        spec: index.CollectionSpec,
        model: str,
        inputs: Sequence[Input],
        space: str,
        timeout_s: float | None,
    ) -> Sequence[NDArray[np.float32]]:
        """A vector of the collection's space for every input, in order."""
        found: list[Any] = [_vector(item) for item in inputs]
        if space != spec.space and any(vector is not None for vector in found):
            raise _mismatch(spec, space)
        for kind in (IMAGE, TEXT):
            places = [
                i for i, item in enumerate(inputs) if found[i] is None and kind_of(item) == kind
            ]
            if places:
                chosen = [inputs[i] for i in places]
                positions = places if len(inputs) > 1 else ()
                rows = await self._embed(spec, model, chosen, timeout_s, positions)
                for place, row in zip(places, rows, strict=True):
                    found[place] = row
        return found

    async def _embed(
        self,
        spec: index.CollectionSpec,
        model: str,
        inputs: Sequence[Input],
        timeout_s: float | None,
        positions: Sequence[int],
    ) -> NDArray[np.float32]:
        try:
            card = self._runner.card_for(model, 0, inputs)
        except ModelNotFoundError as error:
            if model != spec.model:
                raise
            raise ModelNotFoundError(f"{error}; collection {spec.name!r} embeds with it") from None
        if card.space != spec.space:
            raise _mismatch(spec, card.space)
        return (await vectors(self._runner, card, inputs, timeout_s, positions))[0]

    async def get(
        self, name: str, ids: Sequence[str], *, with_vectors: bool
    ) -> Sequence[StoredItem]:
        """See `Service.get_items`."""
        items = await self._call(lambda: self._store.get(name, ids, with_vectors=with_vectors))
        return [_stored(item) for item in items]

    async def scroll(
        self, name: str, *, page_size: int, page_token: str, with_vectors: bool
    ) -> ItemPage:
        """See `Service.list_items`."""
        limit = check_k("page_size", page_size or None, PAGE_ITEMS, self._limits.max_k)
        page = await self._call(
            lambda: self._store.scroll(
                name, cursor=page_token or None, limit=limit, with_vectors=with_vectors
            )
        )
        return ItemPage([_stored(item) for item in page.items], page.cursor or "")

    async def delete(self, name: str, ids: Sequence[str]) -> Written:
        """See `Service.delete_items`."""
        receipt = await self._call(lambda: self._store.delete(name, ids))
        await self._recount(name)
        return Written(receipt.count, receipt.seq)

    async def search(
        self,
        name: str,
        queries: Sequence[Input],
        *,
        k: int | None,
        mode: SearchMode,
        dimension: int | None,
        shortlist: int | None,
        with_vectors: bool,
        model: str,
        space: str,
        timeout_s: float | None,
    ) -> Found:
        """See `Service.search`."""
        if not 1 <= len(queries) <= self._limits.max_inputs:
            raise InvalidRequestError(
                f"a search takes 1 to {self._limits.max_inputs} queries, not {len(queries)}"
            )
        if shortlist is not None and mode is not SearchMode.TWO_STAGE:
            raise InvalidRequestError(f"a shortlist is of mode {SearchMode.TWO_STAGE}, not {mode}")
        params = index.SearchParams(
            k=check_k("k", k, K, self._limits.max_k),
            dimension=dimension,
            rerank=mode is SearchMode.TWO_STAGE,
            shortlist=shortlist,
            exact=mode is SearchMode.EXACT,
            with_vectors=with_vectors,
        )
        spec = (await self._info(name)).spec
        found = await self._vectors(spec, model or spec.model, queries, space, timeout_s)
        if len({len(vector) for vector in found}) > 1:
            raise InvalidRequestError("the queries of one search have one length")
        return await self._nearest(spec, np.stack(found), params)

    async def _nearest(
        self,
        spec: index.CollectionSpec,
        queries: NDArray[np.float32],
        params: index.SearchParams,
    ) -> Found:
        """The nearest items of each query (n, dim)."""
        started_s = time.perf_counter()
        answer = await self._call(
            lambda: self._store.search(spec.name, queries, params, space=spec.space)
        )
        metrics.SEARCH_SECONDS.labels(spec.name).observe(time.perf_counter() - started_s)
        results = [
            [Hit(hit.id, hit.score, hit.metadata, hit.vector) for hit in hits]
            for hits in answer.hits
        ]
        return Found(results, spec.space, answer.dimension, answer.higher_is_better)


def _vector(item: Input) -> NDArray[np.float32] | None:
    """The values of an input that is a vector already."""
    if isinstance(item, Tensor) and item.array.ndim == 1 and item.array.dtype == np.float32:
        return item.array
    return None


def _mismatch(spec: index.CollectionSpec, space: str) -> SpaceMismatchError:
    came = f"of space {space!r}" if space else "without a space"
    return SpaceMismatchError(
        f"collection {spec.name!r} holds vectors of space {spec.space!r}; these come {came}"
    )


def _stored(item: index.Item) -> StoredItem:
    return StoredItem(item.id, item.metadata, item.seq, item.vector)
