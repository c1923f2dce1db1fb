"""Writes on their way: checked and prepared by the caller's thread, carried out by the writer's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kokeshi.index import checks, listing
from kokeshi.index.collection import Collection
from kokeshi.index.filters import Filter, Record
from kokeshi.index.geometry import Block
from kokeshi.index.kernels import Codes
from kokeshi.index.rows import NewRow, digest, new_rows
from kokeshi.index.store import Item
from kokeshi.index.truth import Truth, Written

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


def upsert(
    truth: Truth,
    number: int,
    batch: Batch,
    *,
    add_only: bool,
    request_id: str | None,
    requests_kept: int,
) -> Work:
    """Work that writes a batch; once only, however often a request id comes."""

    def work() -> Written:
        return truth.upsert(number, batch.rows, add_only=add_only, tenant=batch.tenant)

    if request_id is None:
        return work
    fingerprint = digest(batch.rows)

    def once() -> Written:
        known = truth.replayed(number, request_id, fingerprint, tenant=batch.tenant)
        if known is not None:
            return known
        written = work()
        truth.remember(number, request_id, fingerprint, written, requests_kept, tenant=batch.tenant)
        return written

    return once


def delete(
    truth: Truth,
    collection: Collection,
    ids: Sequence[str] | None,
    wanted: Filter | None,
    tenant: str,
) -> Work:
    """Work that deletes by id or by filter.

    Raises:
        InvalidRequestError: see `checks.check_delete`.
    """
    checks.check_delete(ids, wanted, tenant)
    if ids is not None:
        return lambda: truth.delete(collection.number, ids, tenant=tenant)
    # in the writer's thread: the snapshot holds every write that was acknowledged before
    return lambda: truth.delete_rows(
        collection.number, listing.rows_of(collection.snapshot, wanted, tenant)
    )
