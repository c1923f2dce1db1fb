"""Writes: batches once per request id, and deletes that count what they found."""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Sequence

from kokeshi.errors import AlreadyExistsError, DeadlineError, TooLargeError
from kokeshi.index import checks
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.keys import digest, fingerprint
from kokeshi.index.distributed.requests import Request
from kokeshi.index.items import Item, Receipt
from kokeshi.index.qdrant.client import Raw
from kokeshi.index.qdrant.journal import Journal
from kokeshi.index.qdrant.layout import Layout
from kokeshi.index.qdrant.points import keys_of, points_of
from kokeshi.index.qdrant.reading import FLOAT_BYTES, Reader
from kokeshi.index.qdrant.where import Where


class Writing:
    """Writes of this gateway.

    Args:
        reader: of Qdrant.
        clock: that numbers the points.
        batch_bytes: of vectors in one upsert.
    """

    def __init__(self, reader: Reader, clock: Clock, batch_bytes: int) -> None:
        self._reader, self._clock, self._batch_bytes = reader, clock, batch_bytes
        self._journal = Journal(reader.client)
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.count = 0

    def turn(self, layout: Layout) -> threading.Lock:
        """Keeps what looks first and writes then apart, in this gateway."""
        return self._turns[layout.name]

    def upsert(
        self,
        layout: Layout,
        items: Sequence[Item],
        *,
        request_id: str | None,
        add_only: bool,
        tenant: str,
    ) -> Receipt:
        """Writes a batch, once per request id."""
        self._check_bytes(layout, len(items))
        vectors = checks.stack_vectors(layout.spec, items)
        metadata = [checks.encode_metadata(item.id, item.metadata) for item in items]
        request = Request(
            request_id,
            digest(layout.name, layout.made, tenant, request_id or ""),
            fingerprint(items, vectors, metadata),
            len(items),
        )

        def check() -> None:
            if add_only:
                self._check_new(layout, items, tenant)

        def write(first_seq: int) -> None:
            points = points_of(layout, items, vectors, metadata, tenant=tenant, first_seq=first_seq)
            self._change(layout, "upsert", points=points)

        with self.turn(layout) if add_only else contextlib.nullcontext():
            seq = request.once(self._journal, self._clock, before=check, write=write)
        self.count += 1
        return Receipt(seq, len(items), is_fsynced=False)

    def delete_ids(self, layout: Layout, ids: Sequence[str], tenant: str) -> Receipt:
        """Deletes items of a tenant; counts those that were there."""
        there = list(self._reader.by_keys(layout, keys_of(tenant, ids)))
        return self._deleted(self._delete(layout, there))

    def delete_where(self, layout: Layout, where: Where) -> Receipt:
        """Deletes rows that fit, a page at a time.

        By key, never by the condition: what Qdrant makes of that is checked row by row, and a
        delete cannot be taken back.
        """
        pages = self._reader.all(layout, where, with_vectors=False)
        return self._deleted(
            sum(self._delete(layout, [row["key"] for row in page]) for page in pages)
        )

    def _delete(self, layout: Layout, keys: list[str]) -> int:
        if keys:
            self._change(layout, "delete", points_selector=keys)
        return len(keys)

    def _deleted(self, count: int) -> Receipt:
        self.count += 1
        return Receipt(self._clock.take(1), count, is_fsynced=False)

    def _change(self, layout: Layout, method: str, **asked: Raw) -> None:
        """A write that is applied when this returns."""
        from qdrant_client import models

        done = self._reader.call(
            layout, method, **asked, wait=True, ordering=models.WriteOrdering.STRONG
        )
        if done.status != models.UpdateStatus.COMPLETED:
            raise DeadlineError("qdrant has taken the write and not done it in time")

    def _check_new(self, layout: Layout, items: Sequence[Item], tenant: str) -> None:
        keys = keys_of(tenant, [item.id for item in items])
        rows = self._reader.by_keys(layout, keys)
        for item, key in zip(items, keys, strict=True):
            if key in rows:
                raise AlreadyExistsError(f"item {item.id!r} exists")

    def _check_bytes(self, layout: Layout, rows: int) -> None:
        values = layout.spec.dim * len(layout.read_vectors) + (layout.prefix or 0)
        most = max(1, self._batch_bytes // (FLOAT_BYTES * values))
        if rows > most:
            raise TooLargeError(
                f"a batch must have at most {most} items of {layout.spec.dim} values, got {rows}"
            )
