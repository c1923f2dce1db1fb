"""The thread that compacts, builds and writes files, while searches go on beside it."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from kokeshi.index import forms
from kokeshi.index.cache import Cache
from kokeshi.index.collection import Collection
from kokeshi.index.compaction import compacted
from kokeshi.index.crash_points import crash_point
from kokeshi.index.forms import BuildStoppedError, Form
from kokeshi.index.gpu import gpus
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.tuning import Tuning
from kokeshi.index.wishes import (
    form_length,
    gpu_lengths,
    wanted_form,
    wants_compaction,
    wants_form,
)

logger = logging.getLogger(__name__)

_STOP: Final = None
EXTENDED: Final = ("hnsw", "ivf")  # others are as quickly built anew, and FAISS cannot copy them


class Builder:
    """Builds in the background, one collection at a time."""

    def __init__(self, tuning: Tuning, cache_of: Callable[[Collection], Cache]) -> None:
        self.builds = 0
        self._tuning = tuning
        self._cache_of = cache_of
        self._waiting: queue.SimpleQueue[Collection | None] = queue.SimpleQueue()
        self._asked: set[int] = set()
        self._failed: set[int] = set()
        self._refused_until_s: dict[int, float] = {}
        self._formed: set[int] = set()  # collections whose form is not in its file yet
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="kokeshi-index-builder", daemon=True)
        self._thread.start()

    def consider(self, collection: Collection) -> None:
        """Brings the index and files of a collection up to date; returns at once."""
        if not self._wants_work(collection):
            return
        with self._changed:
            if collection.number not in self._asked:
                self._asked.add(collection.number)
                self._waiting.put(collection)

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is left to build; false when time runs out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._asked, timeout_s)

    def close(self, collections: Iterable[Collection]) -> None:
        """Stops; a build under way is thrown away, but rows that the next start needs are written.

        Args:
            collections: that nobody writes to any more.
        """
        self._is_stopped = True
        self._waiting.put(_STOP)
        self._thread.join()
        self._is_stopped = False
        for collection in collections:
            if not collection.quarantine and not collection.is_dropped:
                self._leave(collection)

    def _run(self) -> None:
        while (collection := self._waiting.get()) is not _STOP and not self._is_stopped:
            try:
                self._work(collection)
            except BuildStoppedError:
                return
            except Exception:
                # Searches go on, since rows that no index covers are scanned; to try again with
                # every write would fail with every write.
                logger.exception("collection %r stays without index", collection.spec.name)
                self._failed.add(collection.number)
            self._finish(collection)

    def _finish(self, collection: Collection) -> None:
        collection.progress = None
        with self._changed:
            # a write may have asked for more while this build was under way
            if self._wants_work(collection):
                self._waiting.put(collection)
            else:
                self._asked.discard(collection.number)
                self._changed.notify_all()

    def _wants_work(self, collection: Collection) -> bool:
        if collection.number in self._failed or collection.quarantine or collection.is_dropped:
            return False
        now = collection.snapshot
        return (
            self._wants_files(collection, now)
            or wants_compaction(now, self._tuning)
            or wants_form(collection.spec, now, self._tuning)
        )

    def _wants_files(self, collection: Collection, now: Snapshot) -> bool:
        is_refused = time.monotonic() < self._refused_until_s.get(collection.number, 0.0)
        return not is_refused and (
            any(not segment.token for segment in now.sealed) or collection.number in self._formed
        )

    def _leave(self, collection: Collection) -> None:
        """Writes rows that a start would be slow to read from the database."""
        if len(collection.snapshot.tail) >= self._tuning.closing_rows:
            collection.seal_together()
        if self._wants_files(collection, collection.snapshot):
            self._write_if_possible(collection)

    def _work(self, collection: Collection) -> None:
        self._bring_up_to_date(collection)
        self._write_if_possible(collection)

    def _write_if_possible(self, collection: Collection) -> None:
        try:
            self._write(collection)
        except (OSError, RuntimeError) as error:
            # a start before that succeeds reads the database instead
            logger.warning("index files of %r were not written: %s", collection.spec.name, error)
            self._refused_until_s[collection.number] = time.monotonic() + self._tuning.retry_s

    def _bring_up_to_date(self, collection: Collection) -> None:
        if wants_compaction(collection.snapshot, self._tuning):
            self._compact(collection)
        elif wants_form(collection.spec, collection.snapshot, self._tuning):
            self._build(collection)

    def _compact(self, collection: Collection) -> None:
        """Leaves out the dead."""
        sealed = collection.seal()
        fresh = compacted(sealed.sealed, self._tuning, self._check_stopped)
        kept = Snapshot(sealed.seq, (*fresh, sealed.tail))
        kind = wanted_form(collection.spec, kept, self._tuning)
        form = self._built(collection, kept, kind) if kind else None
        crash_point("builder.before_compacted")
        collection.adopt_compacted(fresh, form, sealed)
        self._formed.add(collection.number)
        self.builds += 1

    def _build(self, collection: Collection) -> None:
        """Builds or extends the form."""
        sealed = collection.seal()
        kind = wanted_form(collection.spec, sealed, self._tuning)
        form = self._built(collection, sealed, kind) if kind else None
        if form is not None:
            collection.adopt_form(form, sealed)
            self._formed.add(collection.number)
            self.builds += 1

    def _built(self, collection: Collection, sealed: Snapshot, kind: str) -> Form | None:
        def tell(share: float) -> None:
            collection.progress = share

        parts = [segment.part(None) for segment in sealed.sealed]
        tell(0.0)
        if kind == "gpu":
            spec, limits = collection.spec, self._tuning.gpu
            return gpus.GPUS.build(
                spec, parts, gpu_lengths(spec), sealed.form, limits, self._stopped, tell
            )
        if sealed.form is not None and sealed.form.kind == kind and kind in EXTENDED:
            return forms.extend(sealed.form, collection.geometry, parts, self._stopped, tell)
        length = form_length(collection.spec, kind)
        return forms.build(
            kind, collection.geometry, parts, length, self._tuning, self._stopped, tell
        )

    def _write(self, collection: Collection) -> None:
        cache = self._cache_of(collection)
        for segment in collection.snapshot.sealed:
            if not segment.token:
                self._check_stopped()
                collection.adopt_file(segment, cache.write(segment))
                crash_point("builder.after_segment")
        now = collection.snapshot
        sealed = [segment for segment in now.sealed if segment.token]
        if now.form is None or now.form.kind == "gpu":  # sent again faster than read
            cache.drop_form()
        elif collection.number in self._formed:
            cache.write_form(now.form, now.form_seq)
        cache.publish(sealed)
        self._formed.discard(collection.number)
        collection.cached_seq = sealed[-1].seq if sealed else None
        if collection.is_dropped:
            cache.remove()

    def _stopped(self) -> bool:
        return self._is_stopped

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise BuildStoppedError
