"""The store at a Milvus server: any number of gateways may use one."""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Self

import numpy.typing as npt

from kokeshi.errors import (
    AlreadyExistsError,
    ItemNotFoundError,
    UnimplementedError,
)
from kokeshi.index import checks
from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.telling import info_of, listed, stats_of
from kokeshi.index.filters import Filter
from kokeshi.index.filters.milvus import OPERATORS
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.milvus.catalogue import Catalogue
from kokeshi.index.milvus.client import Client
from kokeshi.index.milvus.layout import KINDS, METRICS, Layout, layout_of
from kokeshi.index.milvus.reading import Reader, Row
from kokeshi.index.milvus.rows import item_of, keys_of
from kokeshi.index.milvus.search import Search
from kokeshi.index.milvus.where import Where
from kokeshi.index.milvus.writing import Writing
from kokeshi.index.spec import CollectionSpec


class MilvusStore:
    """See `kokeshi.index.store.Store`.

    Milvus keeps, filters and finds candidates; the order of neighbours and their scores are
    computed here. Every read is strongly consistent, so it sees every write that any gateway had
    acknowledged before. What Milvus has no word for is weaker than in the embedded store: a batch
    that a failure cut short may be there in part until it is sent again (with its request id:
    under the same numbers); `add_only`, and the count of a delete, look first and write then, so
    that a write of another gateway can come between.

    Args:
        uri: "http://host:port", or "https://" for TLS.
        token: "user:password" or an API key; "" for none.
        database: of the server; "" is its default one.
        timeout_s: deadline of every call of Milvus, retries included.
        retry_s: how long calls that may be repeated are, while the server cannot be reached.
        tenant_partitions: partitions of a new collection, over which its tenants are spread;
            0 keeps all tenants in one.
        shards: channels that a new collection's writes go through at once.
        links: M of HNSW.
        ef_construction: candidates kept while a row is linked into the graph.
        batch_bytes: of vectors in one upsert; Milvus takes messages of 64 MiB by default.
        answer_bytes: of vectors in one answer.
        scan_rows: most rows that are read where Milvus cannot answer a search itself.
        skew_s: most seconds that the clocks of two gateways may be apart.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str = "",
        database: str = "",
        timeout_s: float = 30.0,
        retry_s: float = 5.0,
        tenant_partitions: int = 16,
        shards: int = 1,
        links: int = 32,
        ef_construction: int = 128,
        batch_bytes: int = 56 * 2**20,
        answer_bytes: int = 32 * 2**20,
        scan_rows: int = 1_000_000,
        skew_s: float = 5.0,
    ) -> None:
        self._client = Client(
            uri, token=token, database=database, timeout_s=timeout_s, retry_s=retry_s
        )
        self._catalogue = Catalogue(self._client, shards, links, ef_construction)
        self._reader = Reader(self._client, answer_bytes)
        self._clock = Clock(skew_s)
        self._writing = Writing(self._client, self._reader, self._clock, batch_bytes)
        self._partitions, self._scan_rows = tenant_partitions, scan_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the connection."""
        self._client.close()

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`; the server is asked what it is."""
        return Capabilities(
            metrics=frozenset(METRICS),
            kinds=KINDS,
            filters=OPERATORS,
            durable=self._writing.is_durable,
            read_your_writes=True,
            request_ids=True,
            exact=True,
            snapshots=False,
            atomic=False,
            tenants=False,
            prefixes=False,
            counts_writes=False,
        )

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        checks.check_spec(spec)
        layout = layout_of(spec, made=secrets.token_hex(8), partitions=self._partitions)
        with self._writing.turn(layout, alone=True):
            self._catalogue.create(layout)
            # Milvus takes the second of two equal requests of two gateways for the same
            if self._catalogue.layout(spec.name).made != layout.made:
                raise AlreadyExistsError(f"collection {spec.name!r} exists")
            self._catalogue.make_ready(layout)
        return self.describe(spec.name)

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.ensure`."""
        checks.check_spec(spec)
        if not self._catalogue.has(spec.name):
            with contextlib.suppress(AlreadyExistsError):  # another caller may be first
                return self.create(spec)
        checks.check_same_settings(self._catalogue.layout(spec.name).spec, spec)
        return self.describe(spec.name)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self._catalogue.drop(name)

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`; what kokeshi cannot read is left out, and logged."""
        return listed(self._catalogue.names(), self.describe)

    def describe(self, name: str) -> CollectionInfo:
        """See `Store.describe`; sizes are Milvus's own affair and 0 here."""
        return self._catalogue.on(name, self._info)

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

        def work(layout: Layout) -> Receipt:
            checks.check_same_space(layout.spec, space)
            checks.check_request_id(request_id)
            checks.check_tenant(tenant)
            checks.check_ids([item.id for item in items])
            checks.check_origins(items)
            return self._writing.upsert(
                layout, items, request_id=request_id, add_only=add_only, tenant=tenant
            )

        return self._catalogue.on(name, work)

    def delete(
        self,
        name: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """See `Store.delete`."""
        checks.check_delete(ids, filter, tenant)

        def work(layout: Layout) -> Receipt:
            if ids is not None:
                return self._writing.delete_ids(layout, ids, tenant)
            return self._writing.delete_where(layout, Where.of(tenant, filter))

        return self._catalogue.on(name, work)

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
        """See `Store.get`."""
        checks.check_ids(ids)
        where = Where.of(tenant, None)
        keys = keys_of(tenant, ids)
        rows = self._catalogue.on(
            name, lambda layout: self._reader.by_keys(layout, keys, with_vectors=with_vectors)
        )
        for item_id, key in zip(ids, keys, strict=True):
            if key not in rows or not where.fits(rows[key]):
                raise ItemNotFoundError(f"no item {item_id!r} in collection {name!r}")
        return [item_of(rows[key], with_vector=with_vectors) for key in keys]

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""

        def work(layout: Layout) -> Found:
            checks.check_same_space(layout.spec, space)
            checks.check_params(layout.spec, params)
            queries = checks.query_vectors(layout.spec, vectors, params)
            self._clock.meet(params.min_seq)
            seq = self._clock.now()
            where = Where.of(params.tenant, params.filter)
            search = Search(self._reader, layout, where, params, self._scan_rows)
            hits = search.run(queries)
            return Found(
                hits=tuple(hits),
                seq=seq,
                dimension=search.plan.final,
                is_exact=search.plan.is_exact,
                higher_is_better=layout.spec.higher_is_better,
                route=search.plan.route,
            )

        return self._catalogue.on(name, work)

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
        """See `Store.scroll`; a page that is not the last may hold fewer than `limit` items."""
        start, _ = checks.check_page(cursor, limit)

        def work(layout: Layout) -> Page:
            where = Where.of(tenant, filter)
            rows: list[Row] = []
            last: int | None = start
            while last is not None and not rows:
                rows, last = self._reader.after(
                    layout, where, last, limit, with_vectors=with_vectors
                )
            items = tuple(item_of(row, with_vector=with_vectors) for row in rows)
            return Page(items, None if last is None else f"{last}.0")

        return self._catalogue.on(name, work)

    def count(
        self,
        name: str,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> int:
        """See `Store.count`."""

        def work(layout: Layout) -> int:
            where = Where.of(tenant, filter)
            if where.is_whole:
                return self._reader.count(layout, where.expression)
            return sum(map(len, self._reader.all(layout, where, with_vectors=False)))

        return self._catalogue.on(name, work)

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """Refused: rows hold a digest of the tenant's name, see `rows.tenant_key`."""
        self._catalogue.layout(name)  # whether it is there is told as by every call
        raise UnimplementedError("collections in milvus do not keep the names of their tenants")

    def stats(self) -> StoreStats:
        """See `Store.stats`; writes are those of this gateway, sizes are Milvus's own affair."""
        return stats_of(self.collections(), self._writing.count)

    def _info(self, layout: Layout) -> CollectionInfo:
        seq = self._clock.now()
        return info_of(layout.spec, layout.kind, self._reader.count(layout, ""), seq)
