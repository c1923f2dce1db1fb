"""The thread that rebuilds indexes and writes their files, while searches go on beside it."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from kokeshi.index.cache import Cache
from kokeshi.index.collection import Collection
from kokeshi.index.faiss_index import Base, BuildStoppedError, build, extend
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.tuning import Tuning

logger = logging.getLogger(__name__)

_STOP: Final = None


class Builder:
    """Builds in the background, one collection at a time."""

    def __init__(self, tuning: Tuning, cache_of: Callable[[Collection], Cache]) -> None:
        self.builds = 0
        self._tuning = tuning
        self._cache_of = cache_of
        self._waiting: queue.SimpleQueue[Collection | None] = queue.SimpleQueue()
        self._asked: set[int] = set()
        self._failed: set[int] = set()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="kokeshi-index-builder", daemon=True)
        self._thread.start()

    def consider(self, collection: Collection) -> None:
        """Rebuilds the index of a collection if it has outgrown it; returns at once."""
        if not self._wants_build(collection):
            return
        with self._changed:
            if collection.number not in self._asked:
                self._asked.add(collection.number)
                self._waiting.put(collection)

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is left to build; false when time runs out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._asked, timeout_s)

    def close(self) -> None:
        """Stops; a build under way is thrown away."""
        self._is_stopped = True
        self._waiting.put(_STOP)
        self._thread.join()

    def _run(self) -> None:
        while (collection := self._waiting.get()) is not _STOP and not self._is_stopped:
            try:
                self._rebuild(collection)
            except BuildStoppedError:
                return
            except Exception:
                # Searches go on, since rows that no index covers are scanned; to try again with
                # every write would fail with every write.
                logger.exception("collection %r stays without index", collection.spec.name)
                self._failed.add(collection.number)
            self._finish(collection)

    def _finish(self, collection: Collection) -> None:
        with self._changed:
            # a write may have asked for more while this build was under way
            if self._wants_build(collection):
                self._waiting.put(collection)
            else:
                self._asked.discard(collection.number)
                self._changed.notify_all()

    def _wants_build(self, collection: Collection) -> bool:
        return collection.number not in self._failed and collection.wants_build(self._tuning)

    def _rebuild(self, collection: Collection) -> None:
        snapshot = collection.snapshot
        base = self._built(collection, snapshot)
        collection.adopt(base, snapshot)
        self.builds += 1
        self._write(collection, base)

    def _built(self, collection: Collection, snapshot: Snapshot) -> Base:
        wants_graph = collection.wants_graph(self._tuning)
        base = snapshot.base
        is_extendable = base is not None and (base.graph is not None) == wants_graph
        if (
            base is not None
            and is_extendable
            and not collection.has_many_dead(snapshot, self._tuning)
        ):
            return extend(
                collection.geometry,
                base,
                [snapshot.live_tail()],
                seq=snapshot.seq,
                is_stopped=lambda: self._is_stopped,
            )
        graph_dimension = collection.spec.graph_dimension or collection.spec.dim
        return build(
            collection.geometry,
            snapshot.live_blocks(),
            seq=snapshot.seq,
            graph_dimension=graph_dimension if wants_graph else None,
            tuning=self._tuning,
            is_stopped=lambda: self._is_stopped,
        )

    def _write(self, collection: Collection, base: Base) -> None:
        cache = self._cache_of(collection)
        try:
            cache.write(base)
        except (OSError, RuntimeError) as error:
            logger.warning("index files of %r were not written: %s", collection.spec.name, error)
            return
        collection.cached_seq = base.seq
        if collection.is_dropped:
            cache.remove()
