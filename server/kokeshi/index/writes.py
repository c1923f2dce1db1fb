"""Writes on their way: checked and prepared by the caller's thread, carried out by the writer's."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kokeshi.index import checks, listing
from kokeshi.index.builder import Builder
from kokeshi.index.collection import Collection
from kokeshi.index.filters import Filter, Record
from kokeshi.index.geometry import Block
from kokeshi.index.kernels import Codes
from kokeshi.index.rows import NewRow, digest, new_rows
from kokeshi.index.store import Item, Receipt
from kokeshi.index.truth import Truth, Written
from kokeshi.index.tuning import Tuning
from kokeshi.index.writer import Job, Writer

Work = Callable[[], Written]


@dataclass(frozen=True, eq=False)
class Batch:
    """Items that passed every check, as the database, the index and the columns want them."""

    tenant: str
    rows: list[NewRow]
    block: Block
    codes: Codes | None
    records: list[Record]

    def show(self, collection: Collection, written: Written) -> None:
        """Publishes the batch once it is committed."""
        if not written.is_replay:
            added = replace(self.block, rows=written.rows)
            collection.apply(written.seq, added, self.codes, self.records, written.removed)


def batch_of(collection: Collection, items: Sequence[Item], tenant: str) -> Batch:
    """Checks and prepares items.

    Raises:
        InvalidRequestError: one of them can never be right.
    """
    checks.check_tenant(tenant)
    ids = [item.id for item in items]
    checks.check_ids(ids)
    checks.check_origins(items)
    vectors = checks.stack_vectors(collection.spec, items)
    metadata = [checks.encode_metadata(item.id, item.metadata) for item in items]
    rows = new_rows(ids, metadata, [item.origin for item in items], vectors)
    block = collection.geometry.block(np.zeros(len(rows), np.int64), vectors)
    records = [(row.id, tenant, row.origin, row.metadata) for row in rows]
    return Batch(tenant, rows, block, collection.encoded(block), records)


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

        def work() -> Written:
            return self._truth.upsert(
                collection.number, batch.rows, add_only=add_only, tenant=tenant
            )

        if request_id is not None:
            work = self._once(collection.number, batch, request_id, work)
        publish = functools.partial(batch.show, collection)
        return self._write(collection, work, publish, len(batch.rows))

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
    ) -> Receipt:
        is_fsynced = collection.spec.durability == "fsync"
        written: Written = self._writer.run(Job(work, publish, rows, is_fsynced))
        self._builder.consider(collection)
        return Receipt(written.seq, written.count, is_fsynced)
