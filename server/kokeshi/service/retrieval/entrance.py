"""Ways into a collection's space: its rotation, and maps that other models were fitted to.

A rotation belongs to the collection: whatever its model embeds goes through it. A map lets a model
of another space ask, where the caller names that model; what is stored never goes through one
unmarked.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.service.embed import vectors
from kokeshi.service.inputs import Input
from kokeshi.service.retrieval.keeping import MAP, ROTATION, Keeper, Way
from kokeshi.service.run import Runner

Vectors = NDArray[np.float32]


class Entrance:
    """See `kokeshi.service.collections.ground.Crossing`.

    Args:
        keeper: of rotations and maps.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def way(self, spec: index.CollectionSpec, source: str, *, is_named: bool) -> Way | None:
        """The rotation from a space, or the map where the caller named its model."""
        found = self._keeper.way(ROTATION, spec.name, source, spec.space)
        if found is None and is_named:
            found = self._keeper.way(MAP, spec.name, source, spec.space)
        return found


async def embedded(
    runner: Runner, model: str, inputs: Sequence[Input], timeout_s: float | None
) -> tuple[Vectors, str]:
    """What a model makes of inputs of one kind, (n, dim) float32, and its space."""
    card = runner.card_for(model, 0, inputs)
    return (await vectors(runner, card, inputs, timeout_s))[0], card.space
