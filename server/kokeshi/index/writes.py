"""Writes on their way: checked and prepared by the caller's thread, carried out by the writer's."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import orjson

from kokeshi.index import checks, listing
from kokeshi.index.builder import Builder
from kokeshi.index.collection import Collection
from kokeshi.index.filters import Columns, Filter, Record
from kokeshi.index.filters.gathering import parse
from kokeshi.index.geometry import Block
from kokeshi.index.incoming import NewRows, digest, new_rows
from kokeshi.index.items import Item, Receipt, Vector
from kokeshi.index.kernels import Codes
from kokeshi.index.truth import Truth, Written
from kokeshi.index.tuning import Tuning
from kokeshi.index.writer import Job, Writer

# Fewer rows are prepared before the writer is told of them: two threads that take turns every few
# microseconds are slower than one after the other.
BESIDE_ROWS: Final = 128

Work = Callable[[], Written]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows of a batch as searches want them; their numbers are not known yet."""

    block: Block
    codes: Codes | None
    said: Columns | Sequence[Record]


class Batch:
    """Items that passed every check.

    Args:
        collection: that they are written to.
        rows: as the database wants them.
        vectors: (n, dim) float32, as they were given.
        tenant: whose they are.
    """

    def __init__(self, collection: Collection, rows: NewRows, vectors: Vector, tenant: str) -> None:
        self.rows = rows
        self.tenant = tenant
        self._collection = collection
        self._vectors = vectors
        self._preparing = threading.Lock()
        self._prepared: Prepared | None = None

    def prepare(self) -> Prepared:
        """Makes what searches want, in the thread that asks first."""
        with self._preparing:
            if self._prepared is None:
                numbers = np.zeros(len(self.rows), np.int64)
                block = self._collection.geometry.block(numbers, self._vectors)
                codes = self._collection.encoded(block)
                self._prepared = Prepared(block, codes, Columns.ready(self._records()))
            return self._prepared

    def show(self, written: Written) -> None:
        """Publishes the batch once it is committed."""
        if written.is_replay:
            return
        ready = self.prepare()
        added = replace(ready.block, rows=written.rows)
        self._collection.apply(written.seq, added, ready.codes, ready.said, written.removed)

    def _records(self) -> list[Record]:
        rows, owners = self.rows, itertools.repeat(self.tenant)
        return list(zip(rows.ids, owners, rows.origins, rows.metadata, strict=False))


def batch_of(collection: Collection, items: Sequence[Item], tenant: str) -> Batch:
    """Checks items.

    Raises:
        InvalidRequestError: one of them can never be right.
    """
    checks.check_tenant(tenant)
    ids = [item.id for item in items]
    checks.check_ids(ids)
    checks.check_origins(items)
    vectors = checks.stack_vectors(collection.spec, items)
    rows = new_rows(ids, _encoded(items), [item.origin for item in items], vectors)
    return Batch(collection, rows, vectors, tenant)


def _encoded(items: Sequence[Item]) -> list[bytes]:
    """Metadata as `checks.encode_metadata` makes it, looked at all at once where that will do."""
    given = [item.metadata for item in items]
    if set(map(type, given)) == {dict}:
        with contextlib.suppress(TypeError):  # of what is no JSON, which is refused below
            encoded = list(map(orjson.dumps, given))
            if max(map(len, encoded)) <= checks.MAX_METADATA_BYTES and parse(encoded) == given:
                return encoded
    return [checks.encode_metadata(item.id, item.metadata) for item in items]


class Writing:
    """Carries out writes.

    Args:
        truth: the database.
        writer: its one writing thread.
        builder: told of collections that have changed.
        tuning: how many request ids are remembered.
    """

    def __init__(self, truth: Truth, writer: Writer, builder: Builder, tuning: Tuning) -> None:
        self._truth = truth
        self._writer = writer
        self._builder = builder
        self._tuning = tuning

    def upsert(
        self,
        collection: Collection,
        items: Sequence[Item],
        *,
        tenant: str,
        add_only: bool,
        request_id: str | None,
    ) -> Receipt:
        """See `Store.upsert`."""
        batch = batch_of(collection, items, tenant)
        if len(items) < BESIDE_ROWS:
            batch.prepare()

        def work() -> Written:
            written = self._truth.upsert(
                collection.number, batch.rows, add_only=add_only, tenant=tenant
            )
            batch.prepare()  # what cannot be shown to searches must not be committed
            return written

        if request_id is not None:
            work = self._once(collection.number, batch, request_id, work)
        return self._write(collection, work, batch.show, len(batch.rows), batch.prepare)

    def delete(
        self,
        collection: Collection,
        ids: Sequence[str] | None,
        wanted: Filter | None,
        tenant: str,
    ) -> Receipt:
        """See `Store.delete`."""
        checks.check_delete(ids, wanted, tenant)

        def work() -> Written:
            if ids is not None:
                return self._truth.delete(collection.number, ids, tenant=tenant)
            # in the writer's thread: the snapshot holds every write that was acknowledged before
            rows = listing.rows_of(collection.snapshot, wanted, tenant)
            return self._truth.delete_rows(collection.number, rows)

        def publish(written: Written) -> None:
            collection.apply(written.seq, None, None, [], written.removed)

        return self._write(collection, work, publish, len(ids or [""]))

    def _once(self, number: int, batch: Batch, request_id: str, work: Work) -> Work:
        """Work that is done once only, however often a request id comes."""
        fingerprint, tenant = digest(batch.rows), batch.tenant

        def once() -> Written:
            known = self._truth.replayed(number, request_id, fingerprint, tenant=tenant)
            if known is not None:
                return known
            written = work()
            kept = self._tuning.requests_kept
            self._truth.remember(number, request_id, fingerprint, written, kept, tenant=tenant)
            return written

        return once

    def _write(
        self,
        collection: Collection,
        work: Work,
        publish: Callable[[Written], None],
        rows: int,
        meanwhile: Callable[[], object] | None = None,
    ) -> Receipt:
        is_fsynced = collection.spec.durability == "fsync"
        job = Job(work, publish, rows, is_fsynced)
        self._writer.start(job)
        if meanwhile is not None:
            # the job does by itself what failed here, and its outcome tells how that went
            with contextlib.suppress(Exception):
                meanwhile()
        written: Written = job.outcome.result()
        self._builder.consider(collection)
        return Receipt(written.seq, written.count, is_fsynced)
