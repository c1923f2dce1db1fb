"""Writes: batches once per request id, and deletes that count what they found."""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from kokeshi.errors import AlreadyExistsError, TooLargeError
from kokeshi.index import checks
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.keys import digest, fingerprint
from kokeshi.index.distributed.requests import Request
from kokeshi.index.items import Item, Receipt
from kokeshi.index.milvus.client import Client
from kokeshi.index.milvus.journal import Journal
from kokeshi.index.milvus.layout import Layout
from kokeshi.index.milvus.reading import FLOAT_BYTES, Reader
from kokeshi.index.milvus.rows import keys_of, rows_of
from kokeshi.index.milvus.where import Where

LITE: Final = "milvus_lite"


class Writing:
    """Writes of this gateway.

    Args:
        client: of the server.
        reader: of the same server.
        clock: that numbers the rows.
        batch_bytes: of vectors in one upsert.
    """

    def __init__(self, client: Client, reader: Reader, clock: Clock, batch_bytes: int) -> None:
        self._client, self._reader, self._clock = client, reader, clock
        self._batch_bytes = batch_bytes
        self._journal = Journal(client)
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.count = 0

    @property
    def is_durable(self) -> bool:
        """True unless the server is milvus-lite, which leaves its log to the operating system."""
        return LITE not in self._client.server_version()

    @contextlib.contextmanager
    def turn(self, layout: Layout, *, alone: bool = False) -> Iterator[None]:
        """Keeps writes of one collection apart where the server does not, or the write asks."""
        if alone or not self.is_durable:
            with self._turns[layout.name]:
                yield
        else:
            yield

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
            rows = rows_of(layout, items, vectors, metadata, tenant=tenant, first_seq=first_seq)
            self._client.call("upsert", layout.spec.name, collection_name=layout.name, data=rows)

        with self.turn(layout, alone=add_only):
            seq = request.once(self._journal, self._clock, before=check, write=write)
        self.count += 1
        return Receipt(seq, len(items), is_fsynced=self.is_durable)

    def delete_ids(self, layout: Layout, ids: Sequence[str], tenant: str) -> Receipt:
        """Deletes items of a tenant; counts those that were there."""
        with self.turn(layout):
            there = list(self._reader.by_keys(layout, keys_of(tenant, ids)))
            return self._deleted(self._delete(layout, there))

    def delete_where(self, layout: Layout, where: Where) -> Receipt:
        """Deletes rows that fit, a page at a time.

        By key, never by the expression: what Milvus makes of that is checked row by row, and a
        delete cannot be taken back.
        """
        with self.turn(layout):
            pages = self._reader.all(layout, where, with_vectors=False)
            return self._deleted(
                sum(self._delete(layout, [row["key"] for row in page]) for page in pages)
            )

    def _delete(self, layout: Layout, keys: list[str]) -> int:
        if keys:
            self._client.call("delete", layout.spec.name, collection_name=layout.name, ids=keys)
        return len(keys)

    def _deleted(self, count: int) -> Receipt:
        self.count += 1
        return Receipt(self._clock.take(1), count, is_fsynced=self.is_durable)

    def _check_new(self, layout: Layout, items: Sequence[Item], tenant: str) -> None:
        keys = keys_of(tenant, [item.id for item in items])
        rows = self._reader.by_keys(layout, keys)
        for item, key in zip(items, keys, strict=True):
            if key in rows:
                raise AlreadyExistsError(f"item {item.id!r} exists")

    def _check_bytes(self, layout: Layout, rows: int) -> None:
        row_bytes = FLOAT_BYTES * (layout.spec.dim + (layout.prefix or 0))
        most = max(1, self._batch_bytes // row_bytes)
        if rows > most:
            raise TooLargeError(
                f"a batch must have at most {most} items of {layout.spec.dim} values, got {rows}"
            )
