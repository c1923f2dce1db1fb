"""Collections: embeds what comes in, keeps it, finds the nearest."""

from kokeshi import index
from kokeshi.index.notes import Notes
from kokeshi.service.collection_types import CollectionLimits
from kokeshi.service.collections.calls import CollectionCalls
from kokeshi.service.collections.dials import Dials
from kokeshi.service.collections.explaining import Explaining
from kokeshi.service.collections.ground import Ground
from kokeshi.service.collections.ingesting import Ingesting
from kokeshi.service.collections.keeping import Keeping
from kokeshi.service.collections.naming import Naming
from kokeshi.service.collections.searching import Searching
from kokeshi.service.run import Runner
from kokeshi.service.types import Limits

__all__ = ["CollectionCalls", "Collections", "Dials"]


class Collections:
    """The parts that answer the collection calls of `Service`.

    Args:
        runner: embeds images and texts.
        store: keeps vectors.
        limits: sizes that requests must keep.
        notes: keep aliases; None: there are none.
        dials: choose the depth of searches; None: nothing is measured.
        collection_limits: more sizes.
    """

    def __init__(
        self,
        runner: Runner,
        store: index.Store,
        limits: Limits,
        *,
        notes: Notes | None = None,
        dials: Dials | None = None,
        collection_limits: CollectionLimits | None = None,
    ) -> None:
        self.ground = Ground(runner, store, limits, notes, collection_limits or CollectionLimits())
        self.naming = Naming(self.ground)
        self.keeping = Keeping(self.ground)
        self.ingesting = Ingesting(self.ground, self.keeping)
        self.searching = Searching(self.ground, dials)
        self.explaining = Explaining(self.ground, self.searching)

    def close(self) -> None:
        """Finishes the calls that run, then the store."""
        self.ground.close()
