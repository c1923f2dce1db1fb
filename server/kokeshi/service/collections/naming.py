"""Making, listing and naming collections."""

from collections.abc import Sequence
from typing import Final

from kokeshi import index, metrics
from kokeshi.card import Card
from kokeshi.contract import Output, Task
from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    UnimplementedError,
    WrongTaskError,
)
from kokeshi.index.notes import Notes
from kokeshi.service.collection_types import Alias, CollectionInfo
from kokeshi.service.collections.ground import Ground
from kokeshi.service.run import IMAGE, TEXT

Aliases = Sequence[Alias]

FLAT: Final = ("cosine", "ip", "l2")  # all are made of inner products, so a space of one has all


class Naming:
    """The calls about collections themselves."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(
        self, name: str, model: str, *, index_kind: str, durability: str, metric: str
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
            metric=metric_of(model, output, metric),  # type: ignore[arg-type]  # one of its words
            curvature=output.curvature,
            index=index_kind,  # type: ignore[arg-type]  # the store checks the word
            durability=durability,  # type: ignore[arg-type]  # as above
        )
        return self._ground.told(await self._ground.call(lambda: self._create(spec)))

    def _create(self, spec: index.CollectionSpec) -> index.CollectionInfo:
        notes = self._ground.notes
        if notes is not None and notes.resolve(spec.name) is not None:
            raise AlreadyExistsError(f"{spec.name!r} is an alias")
        return self._ground.store.create(spec)

    def _embedder(self, model: str) -> Card:
        """The card of a model that embeds; of two towers, the image's."""
        try:
            return self._ground.runner.card(model, kind=IMAGE)
        except WrongTaskError:
            return self._ground.runner.card(model, kind=TEXT)

    async def list(self) -> Sequence[CollectionInfo]:
        """See `Service.list_collections`."""
        infos = await self._ground.call(self._ground.store.collections)
        return [self._ground.told(info) for info in infos]

    async def describe(self, name: str) -> CollectionInfo:
        """See `Service.describe_collection`."""
        return self._ground.told(await self._ground.info(name))

    async def drop(self, name: str) -> None:
        """See `Service.delete_collection`."""
        await self._ground.call(lambda: self._drop(name))
        metrics.forget_collection(name)

    def _drop(self, name: str) -> None:
        notes = self._ground.notes
        known = notes.resolve(name) if notes is not None else None
        if known is not None:
            raise InvalidRequestError(
                f"{name!r} is an alias: delete collection {known!r} by its own name"
            )
        self._ground.store.drop(name)
        if notes is not None:
            notes.forget(name)

    async def set_aliases(self, aliases: Aliases) -> Aliases:
        """See `Service.set_aliases`."""
        if not aliases:
            raise InvalidRequestError("expected at least one alias, got none")
        wanted = {alias.name: alias.collection for alias in aliases}
        if len(wanted) < len(aliases):
            raise InvalidRequestError("an alias comes twice")
        notes = self._notes()
        await self._ground.call(lambda: self._point(notes, wanted))
        return aliases

    def _point(self, notes: Notes, wanted: dict[str, str]) -> None:
        for collection in wanted.values():
            self._ground.store.describe(collection)  # there, and no alias itself
        taken = {info.spec.name for info in self._ground.store.collections()}
        for name in wanted:
            if name in taken:
                raise AlreadyExistsError(f"{name!r} is a collection")
        notes.set_aliases(wanted)

    async def aliases(self, collection: str) -> Aliases:
        """See `Service.list_aliases`."""
        notes = self._ground.notes
        if notes is None:
            return []
        found = await self._ground.call(lambda: notes.aliases(collection or None))
        return [Alias(name, known) for name, known in found.items()]

    async def delete_alias(self, name: str) -> None:
        """See `Service.delete_alias`."""
        notes = self._notes()
        await self._ground.call(lambda: notes.delete_alias(name))

    def _notes(self) -> Notes:
        if self._ground.notes is None:
            raise UnimplementedError("this server keeps no aliases")
        return self._ground.notes


def metric_of(model: str, output: Output, asked: str) -> str:
    """How a collection compares vectors of a model's space.

    A hyperbolic distance between vectors that were trained for another means nothing, nor does
    another between points of a ball.

    Raises:
        InvalidRequestError: the space has no such metric.
    """
    allowed = FLAT if output.metric in FLAT else (output.metric,)
    if not asked or asked in allowed:
        return asked or output.metric
    raise InvalidRequestError(
        f"metric must be {', '.join(allowed[:-1])}{' or ' * (len(allowed) > 1)}{allowed[-1]} "
        f"in the space of model {model!r}, got {asked!r}"
    )
