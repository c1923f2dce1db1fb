"""The store inside this process: SQLite holds the truth, FAISS and NumPy search it."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    ItemNotFoundError,
    SpaceMismatchError,
    UnavailableError,
)
from kokeshi.index import checks
from kokeshi.index.answer import StaleError, answer
from kokeshi.index.builder import Builder
from kokeshi.index.collection import Collection
from kokeshi.index.loader import cache_of, load_all
from kokeshi.index.lock import DirectoryLock
from kokeshi.index.rows import DamagedRowError, digest, new_row
from kokeshi.index.schema import DATABASE
from kokeshi.index.store import (
    CollectionInfo,
    CollectionSpec,
    Found,
    Item,
    Page,
    Receipt,
    SearchParams,
    StoreStats,
    Vector,
)
from kokeshi.index.truth import Truth, Written
from kokeshi.index.tuning import Tuning
from kokeshi.index.writer import Job, Writer

logger = logging.getLogger(__name__)


class EmbeddedStore:
    """See `kokeshi.index.store.Store`. One process per directory.

    Raises:
        SetupError: the directory is in use, or its database is damaged or of another format.
    """

    def __init__(self, directory: Path, tuning: Tuning | None = None) -> None:
        self._directory = directory
        self._tuning = tuning or Tuning()
        self._is_closed = False
        with contextlib.ExitStack() as stack:
            self._lock = stack.enter_context(DirectoryLock(directory))
            self._truth = Truth(directory)
            stack.callback(self._truth.close)
            self._collections, self._rejected_caches = load_all(directory, self._truth)
            stack.pop_all()
        self._builder = Builder(self._tuning, functools.partial(cache_of, directory))
        self._writer = Writer(
            self._truth.writing,
            queue_jobs=self._tuning.queue_jobs,
            group_rows=self._tuning.group_rows,
        )
        for collection in self._collections.values():
            self._builder.consider(collection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """See `Store.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        self._builder.close()
        self._truth.close()
        self._lock.release()

    def wait_idle(self, timeout_s: float = 60.0) -> bool:
        """Waits until no index is being built; false when time runs out."""
        return self._builder.wait_idle(timeout_s)

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        checks.check_spec(spec)
        spec = replace(spec, dimensions=spec.trained)

        def publish(number: int) -> None:
            self._collections[spec.name] = Collection(number, spec)

        self._check_open()
        self._writer.run(Job(lambda: self._truth.create(spec), publish, rows=1, is_fsynced=True))
        return self.describe(spec.name)

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.ensure`."""
        if spec.name not in self._collections:
            # another caller may be first
            with contextlib.suppress(AlreadyExistsError):
                return self.create(spec)
        checks.check_spec(spec)
        there = self._serving(spec.name).spec
        if there.space != spec.space:
            raise SpaceMismatchError(
                f"collection {spec.name!r} holds vectors of space {there.space}, "
                f"asked for space {spec.space}"
            )
        if replace(there, model="") != replace(spec, dimensions=spec.trained, model=""):
            raise AlreadyExistsError(f"collection {spec.name!r} exists with other settings")
        return self.describe(spec.name)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        collection = self._named(name)

        def publish(_: None) -> None:
            collection.is_dropped = True
            if self._collections.get(name) is collection:
                del self._collections[name]

        self._writer.run(
            Job(lambda: self._truth.drop(collection.number), publish, rows=1, is_fsynced=True)
        )
        cache_of(self._directory, collection).remove()

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`."""
        return [self._collections[name].info() for name in sorted(self._collections)]

    def describe(self, name: str) -> CollectionInfo:
        """See `Store.describe`."""
        return self._named(name).info()

    def upsert(
        self,
        name: str,
        items: Sequence[Item],
        *,
        space: str,
        request_id: str | None = None,
        add_only: bool = False,
    ) -> Receipt:
        """See `Store.upsert`."""
        collection = self._serving(name)
        checks.check_same_space(collection.spec, space)
        checks.check_request_id(request_id)
        checks.check_ids([item.id for item in items])
        vectors = checks.stack_vectors(collection.spec, items)
        rows = [
            new_row(item.id, checks.encode_metadata(item.id, item.metadata), vector)
            for item, vector in zip(items, vectors, strict=True)
        ]
        block = collection.geometry.block(np.zeros(len(rows), np.int64), vectors)

        def work() -> Written:
            return self._truth.upsert(collection.number, rows, add_only=add_only)

        def publish(written: Written) -> None:
            if not written.is_replay:
                added = replace(block, rows=written.rows)
                collection.apply(written.seq, added, written.removed)

        once = (
            work
            if request_id is None
            else self._once(collection.number, request_id, digest(rows), work)
        )
        return self._write(collection, once, publish, len(rows))

    def delete(self, name: str, ids: Sequence[str]) -> Receipt:
        """See `Store.delete`."""
        collection = self._serving(name)
        checks.check_ids(ids)

        def publish(written: Written) -> None:
            collection.apply(written.seq, None, written.removed)

        def work() -> Written:
            return self._truth.delete(collection.number, ids)

        return self._write(collection, work, publish, len(ids))

    def get(self, name: str, ids: Sequence[str], *, with_vectors: bool = False) -> list[Item]:
        """See `Store.get`."""
        collection = self._serving(name)
        checks.check_ids(ids)
        with self._guarded(collection):
            found = self._truth.by_ids(collection.number, ids)
        for item_id in ids:
            if item_id not in found:
                raise ItemNotFoundError(f"no item {item_id!r} in collection {name!r}")
        return [found[item_id].item(with_vector=with_vectors) for item_id in ids]

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        collection = self._serving(name)
        checks.check_same_space(collection.spec, space)
        checks.check_params(collection.spec, params)
        queries = checks.query_vectors(collection.spec, vectors, params)
        with contextlib.suppress(StaleError):
            return self._search(collection, queries, params)
        with self._writer.gate:  # no write can come between this time
            if self._serving(name) is not collection:
                raise CollectionNotFoundError(f"collection {name!r} was dropped")
            try:
                return self._search(collection, queries, params)
            except StaleError:
                self._quarantine(collection, "its index holds rows that the database lacks")
        raise AssertionError("quarantine always raises")

    def scroll(
        self,
        name: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> Page:
        """See `Store.scroll`."""
        collection = self._serving(name)
        after = checks.check_page(cursor, limit)
        with self._guarded(collection):
            rows = self._truth.page(collection.number, after, limit + 1)
        items = tuple(row.item(with_vector=with_vectors) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, f"{rows[limit - 1].seq}.{rows[limit - 1].row}" if more else None)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        infos = self.collections()
        return StoreStats(
            collections=len(infos),
            items=sum(info.count for info in infos),
            writes=self._writer.writes,
            commits=self._writer.commits,
            index_builds=self._builder.builds,
            cache_rejections=self._rejected_caches,
            database_bytes=_size(self._directory / DATABASE),
            wal_bytes=_size(self._directory / f"{DATABASE}-wal"),
            is_writable=self._writer.is_writable,
        )

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("the store is closed")

    def _named(self, name: str) -> Collection:
        self._check_open()
        collection = self._collections.get(name)
        if collection is None:
            raise CollectionNotFoundError(f"no collection {name!r:.80}")
        return collection

    def _serving(self, name: str) -> Collection:
        collection = self._named(name)
        collection.check_serving()
        return collection

    def _once(
        self, number: int, request_id: str, fingerprint: bytes, work: Callable[[], Written]
    ) -> Callable[[], Written]:
        def once() -> Written:
            known = self._truth.replayed(number, request_id, fingerprint)
            if known is not None:
                return known
            written = work()
            kept = self._tuning.requests_kept
            self._truth.remember(number, request_id, fingerprint, written, kept)
            return written

        return once

    def _write(
        self,
        collection: Collection,
        work: Callable[[], Written],
        publish: Callable[[Written], None],
        rows: int,
    ) -> Receipt:
        is_fsynced = collection.spec.durability == "fsync"
        written: Written = self._writer.run(Job(work, publish, rows, is_fsynced))
        self._builder.consider(collection)
        return Receipt(written.seq, written.count, is_fsynced)

    def _search(self, collection: Collection, queries: Vector, params: SearchParams) -> Found:
        with self._guarded(collection):
            return answer(self._truth, collection, queries, params, self._tuning)
        raise AssertionError("damage always raises")

    @contextlib.contextmanager
    def _guarded(self, collection: Collection) -> Iterator[None]:
        try:
            yield
        except DamagedRowError as error:
            self._quarantine(collection, str(error))

    @staticmethod
    def _quarantine(collection: Collection, reason: str) -> None:
        logger.error("collection %r is in quarantine: %s", collection.spec.name, reason)
        collection.quarantine = reason
        collection.check_serving()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
