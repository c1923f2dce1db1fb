"""The store inside this process: SQLite holds the truth, FAISS and NumPy search it."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy.typing as npt

from kokeshi.errors import AlreadyExistsError, CollectionNotFoundError, UnavailableError
from kokeshi.index import checks, listing
from kokeshi.index.answer import Source, StaleError, answer
from kokeshi.index.asked import SearchParams
from kokeshi.index.backup import Progress, backup
from kokeshi.index.builder import Builder
from kokeshi.index.capabilities import CAPABILITIES, Capabilities
from kokeshi.index.collection import Collection
from kokeshi.index.collections import Collections
from kokeshi.index.filters import Filter
from kokeshi.index.found import Found
from kokeshi.index.gpu import gpus
from kokeshi.index.gpu.form import GpuForm
from kokeshi.index.heads import Heads
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.loader import load_all
from kokeshi.index.lock import DirectoryLock
from kokeshi.index.manifest import Manifest
from kokeshi.index.schema import sizes
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.tenants import tenants_of
from kokeshi.index.truth import Truth
from kokeshi.index.tuning import Tuning
from kokeshi.index.writer import Writer
from kokeshi.index.writes import Writing


class EmbeddedStore:
    """See `kokeshi.index.store.Store`. One process per directory.

    Args:
        directory: of the database and the index files; made when it is not there.
        tuning: None: the defaults.
        allow_network_files: takes a directory that lies on another machine, where locks and the
            database's log may not hold.

    Raises:
        SetupError: the directory is in use, or its database is damaged or of another format.
    """

    def __init__(
        self, directory: Path, tuning: Tuning | None = None, *, allow_network_files: bool = False
    ) -> None:
        self._directory = directory
        self._tuning = tuning or Tuning()
        self._is_closed = False
        with contextlib.ExitStack() as stack:
            self._lock = stack.enter_context(
                DirectoryLock(directory, allow_network=allow_network_files)
            )
            self._truth = Truth(directory)
            stack.callback(self._truth.close)
            loaded = load_all(directory, self._truth, self._tuning)
            stack.pop_all()
        self._source = Source(self._truth, Heads(self._truth, self._tuning.heads_bytes))
        self._rejected_caches = loaded.rejected
        self._writer = Writer(
            self._truth.writing,
            queue_jobs=self._tuning.queue_jobs,
            group_rows=self._tuning.group_rows,
            refusal=self._truth.refusal,
        )
        self._collections = Collections(directory, self._truth, self._writer, loaded, self._tuning)
        self._builder = Builder(self._tuning, self._collections.cache)
        self._writing = Writing(self._truth, self._writer, self._builder, self._tuning)
        gpus.GPUS.tell_losses(self)
        for collection in self._collections.all():
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
        self._builder.close(self._collections.all())
        self._truth.close()
        self._lock.release()

    def wait_idle(self, timeout_s: float = 60.0) -> bool:
        """Waits until no index is being built; false when time runs out."""
        return self._builder.wait_idle(timeout_s)

    def backup(self, target: Path, *, progress: Progress | None = None) -> Manifest:
        """Copies the database as it is now, while reads and writes go on; see `backup.backup`.

        Raises:
            SetupError: the target is taken, or the disk is full.
        """
        self._check_open()
        return backup(self._directory, target, progress=progress)

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return CAPABILITIES

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        checks.check_spec(spec)
        self._check_open()
        self._collections.create(spec)
        return self.describe(spec.name)

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.ensure`."""
        if spec.name not in self._collections:
            # another caller may be first
            with contextlib.suppress(AlreadyExistsError):
                return self.create(spec)
        checks.check_spec(spec)
        checks.check_same_settings(self._serving(spec.name).spec, spec)
        return self.describe(spec.name)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self._collections.drop(self._named(name))

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`."""
        return self._collections.infos()

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
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """See `Store.upsert`."""
        collection = self._serving(name)
        checks.check_same_space(collection.spec, space)
        checks.check_request_id(request_id)
        return self._writing.upsert(
            collection, items, tenant=tenant, add_only=add_only, request_id=request_id
        )

    def delete(
        self,
        name: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """See `Store.delete`."""
        collection = self._serving(name)
        return self._writing.delete(collection, ids, filter, tenant)

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
        """See `Store.get`."""
        collection = self._serving(name)
        checks.check_ids(ids)
        checks.check_tenant(tenant)
        return listing.by_ids(
            self._truth, collection, ids, tenant=tenant, with_vectors=with_vectors
        )

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        collection = self._serving(name)
        checks.check_same_space(collection.spec, space)
        checks.check_params(collection.spec, params)
        queries = checks.query_vectors(collection.spec, vectors, params)
        collection.wait_for(params.min_seq, self._tuning.min_seq_wait_s)
        with contextlib.suppress(StaleError):
            return answer(self._source, collection, queries, params)
        with self._writer.gate:  # no write can come between this time
            if self._serving(name) is not collection:
                raise CollectionNotFoundError(f"collection {name!r} was dropped")
            try:
                return answer(self._source, collection, queries, params)
            except StaleError:
                collection.refuse("its index holds rows that the database lacks")

    def scroll(
        self,
        name: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        with_vectors: bool = False,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Page:
        """See `Store.scroll`."""
        collection = self._serving(name)
        after = checks.check_page(cursor, limit)
        checks.check_who_and_what(tenant, filter)
        return listing.page(
            self._truth,
            collection,
            after,
            limit,
            wanted=filter,
            tenant=tenant,
            with_vectors=with_vectors,
        )

    def count(
        self,
        name: str,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> int:
        """See `Store.count`."""
        collection = self._serving(name)
        checks.check_who_and_what(tenant, filter)
        snapshot = collection.snapshot
        return snapshot.counted(snapshot.allowed(tenant, filter))

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """See `Store.tenants`."""
        collection = self._serving(name)
        with collection.guarded():
            return tenants_of(self._truth, collection.number, limit)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        infos = self.collections()
        database_bytes, wal_bytes = sizes(self._directory)
        return StoreStats(
            collections=len(infos),
            items=sum(info.count for info in infos),
            writes=self._writer.writes,
            commits=self._writer.commits,
            index_builds=self._builder.builds,
            cache_rejections=self._rejected_caches,
            database_bytes=database_bytes,
            wal_bytes=wal_bytes,
            is_writable=self._writer.is_writable,
        )

    def gpu_lost(self) -> None:
        """Searches what a lost GPU held on the CPU, by scans until another index is built."""
        for collection in self._collections.all():
            form = collection.snapshot.form
            if isinstance(form, GpuForm) and form.is_lost:
                collection.leave_form(form)
                self._builder.consider(collection)

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("the store is closed")

    def _named(self, name: str) -> Collection:
        self._check_open()
        return self._collections[name]

    def _serving(self, name: str) -> Collection:
        collection = self._named(name)
        collection.check_serving()
        return collection
