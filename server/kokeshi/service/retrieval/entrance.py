"""From an input to a vector of a collection's space, through a rotation or a map where one is kept.

A rotation belongs to the collection: whatever its model embeds goes through it. A map lets a model
of another space ask, where the caller names that model.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.errors import InvalidRequestError
from kokeshi.service.collections.ground import Ground, given_vector, mismatch
from kokeshi.service.embed import vectors
from kokeshi.service.inputs import Input
from kokeshi.service.retrieval.keeping import MAP, ROTATION, Keeper, Way
from kokeshi.service.run import Runner

Vectors = NDArray[np.float32]


class Entrance:
    """Makes vectors of queries.

    Args:
        ground: store and models.
        keeper: of rotations and maps.
    """

    def __init__(self, ground: Ground, keeper: Keeper) -> None:
        self._ground = ground
        self._keeper = keeper

    async def vectors(
        self,
        spec: index.CollectionSpec,
        inputs: Sequence[Input],
        model: str,
        space: str,
        timeout_s: float | None,
    ) -> Vectors:
        """Vectors (n, dim) float32 of the collection's space.

        Args:
            spec: of the collection.
            inputs: all of one kind.
            model: embeds them; "" is the collection's own.
            space: of those that are vectors.
            timeout_s: the caller's deadline.

        Raises:
            SpaceMismatchError: no way leads from their space into the collection's.
        """
        given = [vector for item in inputs if (vector := given_vector(item)) is not None]
        if len(given) == len(inputs):
            found, source = _stacked(given), space
        else:
            found, source = await embedded(
                self._ground.runner, model or spec.model, inputs, timeout_s
            )
        if source == spec.space:
            return found
        way = await self._ground.call(lambda: self._way(spec, source, is_named=bool(model)))
        if way is None:
            raise mismatch(spec, source)
        return await self._ground.call(lambda: np.asarray(way(found), np.float32))

    def _way(self, spec: index.CollectionSpec, source: str, *, is_named: bool) -> Way | None:
        way = self._keeper.way(ROTATION, spec.name, source, spec.space)
        if way is None and is_named:
            way = self._keeper.way(MAP, spec.name, source, spec.space)
        return way


async def embedded(
    runner: Runner, model: str, inputs: Sequence[Input], timeout_s: float | None
) -> tuple[Vectors, str]:
    """What a model makes of inputs of one kind, (n, dim) float32, and its space."""
    card = runner.card_for(model, 0, inputs)
    return (await vectors(runner, card, inputs, timeout_s))[0], card.space


def _stacked(rows: Sequence[Vectors]) -> Vectors:
    if len({len(row) for row in rows}) > 1:
        raise InvalidRequestError("vectors of one call have one length")
    return np.stack(rows)
