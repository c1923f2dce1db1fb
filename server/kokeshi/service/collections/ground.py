"""What every call of collections stands on: the store on threads of its own, aliases, vectors."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kokeshi import index, metrics
from kokeshi.errors import CollectionNotFoundError, ModelNotFoundError, SpaceMismatchError
from kokeshi.index.notes import Notes
from kokeshi.service.collection_types import CollectionInfo, CollectionLimits
from kokeshi.service.embed import vectors
from kokeshi.service.run import IMAGE, TEXT, Runner, kind_of
from kokeshi.service.types import Input, Limits, Tensor

T = TypeVar("T")
Vectors = NDArray[np.float32]

KINDS: Final = (IMAGE, TEXT, "audio")  # of inputs: each is embedded as one


class Crossing(Protocol):
    """Knows ways from other spaces into that of a collection."""

    def way(
        self, spec: index.CollectionSpec, source: str, *, is_named: bool
    ) -> Callable[[Vectors], Vectors] | None:
        """What takes (n, dim) of a space into the collection's; None: there is nothing.

        `is_named`: the caller asks with a model that is not the collection's own.
        """


class Planning(Protocol):
    """Knows which shortlist was measured to do for a collection."""

    def shortlist(self, info: index.CollectionInfo, k: int, tenant: str) -> index.Shortlist | None:
        """For k neighbours among a tenant's items; None: nothing was measured."""


class Ground:
    """Store, models and aliases.

    Args:
        runner: embeds images and texts.
        store: keeps vectors; its calls block, so they run on threads of their own.
        limits: sizes that requests must keep.
        notes: keep aliases; None: there are none.
        collection_limits: more sizes.
    """

    def __init__(
        self,
        runner: Runner,
        store: index.Store,
        limits: Limits,
        notes: Notes | None,
        collection_limits: CollectionLimits,
    ) -> None:
        self.runner = runner
        self.store = store
        self.limits = limits
        self.notes = notes
        self.collection_limits = collection_limits
        self.crossing: Crossing | None = None  # of whoever keeps rotations and maps
        self.planning: Planning | None = None  # of whoever keeps fits
        self._threads = ThreadPoolExecutor(
            collection_limits.store_threads, thread_name_prefix="store"
        )

    def close(self) -> None:
        """Finishes the calls that run, then the store."""
        self._threads.shutdown()
        self.store.close()
        if self.notes is not None:
            self.notes.close()

    async def call(self, work: Callable[[], T]) -> T:
        """What a call of the store or of the notes returns."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def info(self, name: str) -> index.CollectionInfo:
        """A collection by its name or an alias.

        Raises:
            CollectionNotFoundError: there is none.
        """
        return await self.call(lambda: self.found(name))

    def found(self, name: str) -> index.CollectionInfo:
        """See `info`; blocks."""
        known = self.notes.resolve(name) if self.notes is not None else None
        try:
            return self.store.describe(known or name)
        except CollectionNotFoundError:
            if known is None:
                raise
            raise CollectionNotFoundError(
                f"alias {name!r} is of collection {known!r}, which is no more"
            ) from None

    def told(self, info: index.CollectionInfo) -> CollectionInfo:
        """A collection as the service tells of it; sets its gauge."""
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
            tail=info.tail,
            dead=info.dead,
            memory_bytes=info.memory_bytes,
            mapped_bytes=info.mapped_bytes,
            build_progress=info.progress,
            quarantine=info.quarantine or "",
            tenants=info.tenants,
            curvature=info.spec.curvature if info.spec.metric == "hyperbolic" else None,
        )

    async def recount(self, name: str) -> None:
        """Sets the gauge after a write; who dropped the collection meanwhile does not undo it."""
        with suppress(CollectionNotFoundError):
            self.told(await self.call(lambda: self.store.describe(name)))

    async def vectors(
        self,
        spec: index.CollectionSpec,
        model: str,
        inputs: Sequence[Input],
        space: str,
        timeout_s: float | None,
    ) -> Sequence[NDArray[np.float32]]:
        """A vector of the collection's space for every input, in order; one batch per kind."""
        found: list[Any] = [given_vector(item) for item in inputs]
        if space != spec.space and any(vector is not None for vector in found):
            cross = await self._way(spec, space, is_named=False)
            found = [None if vector is None else cross(vector[None])[0] for vector in found]
        for kind in KINDS:
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
            card = self.runner.card_for(model, 0, inputs)
        except ModelNotFoundError as error:
            if model != spec.model:
                raise
            raise ModelNotFoundError(f"{error}; collection {spec.name!r} embeds with it") from None
        if card.space == spec.space:
            return (await vectors(self.runner, card, inputs, timeout_s, positions))[0]
        cross = await self._way(spec, card.space, is_named=model != spec.model)
        made, _ = await vectors(self.runner, card, inputs, timeout_s, positions)
        return await self.call(lambda: cross(made))

    async def _way(
        self, spec: index.CollectionSpec, source: str, *, is_named: bool
    ) -> Callable[[Vectors], Vectors]:
        """What takes vectors of another space into the collection's.

        Raises:
            SpaceMismatchError: nothing does.
        """
        if (crossing := self.crossing) is None:
            raise mismatch(spec, source)
        way = await self.call(lambda: crossing.way(spec, source, is_named=is_named))
        if way is None:
            raise mismatch(spec, source)
        return way


def given_vector(item: Input) -> NDArray[np.float32] | None:
    """The values of an input that is a vector already."""
    if isinstance(item, Tensor) and item.array.ndim == 1 and item.array.dtype == np.float32:
        return item.array
    return None


def mismatch(spec: index.CollectionSpec, space: str) -> SpaceMismatchError:
    """The error of vectors that come from elsewhere."""
    came = f"of space {space!r}" if space else "without a space"
    return SpaceMismatchError(
        f"collection {spec.name!r} holds vectors of space {spec.space!r}; these come {came}"
    )
