"""The store at a Qdrant server, which any number of gateways may use, or at its local engine."""

import contextlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy.typing as npt

from kokeshi.errors import AlreadyExistsError, ItemNotFoundError
from kokeshi.index import checks
from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.telling import info_of, listed, stats_of
from kokeshi.index.filters import Filter
from kokeshi.index.filters.qdrant import OPERATORS
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.qdrant.catalogue import Catalogue
from kokeshi.index.qdrant.client import Client
from kokeshi.index.qdrant.layout import DISTANCES, KINDS, LOCAL_KINDS, Building, layout_of
from kokeshi.index.qdrant.points import item_of, keys_of
from kokeshi.index.qdrant.reading import Reader
from kokeshi.index.qdrant.search import Search
from kokeshi.index.qdrant.where import Where
from kokeshi.index.qdrant.writing import Writing
from kokeshi.index.spec import CollectionSpec

PREFIX_SINCE: Final = (1, 19)  # version of the server that matches prefixes of texts


class QdrantStore:
    """See `kokeshi.index.store.Store`.

    Qdrant keeps, filters, takes shortlists and runs the funnel; the order of neighbours and their
    scores are computed here. What it has no word for is weaker than in the embedded store: an
    acknowledged write is in its log, which it brings to the disk every few seconds; a batch may be
    there in part after a failure until it is sent again (with its request id: under the same
    numbers); `add_only`, and the count of a delete, look first and write then, so that a write of
    another gateway can come between.

    Without a server (`path`) the client's own engine keeps the points, for tests and small
    collections: every search compares all rows, and beyond 20,000 of them it warns.

    Args:
        url: "http://host:6333", or "https://" for TLS.
        path: directory of the local engine in the place of a server; ":memory:" keeps nothing.
        grpc_port: of the server; all calls go there.
        api_key: "" for none.
        timeout_s: deadline of every call; the client rounds it up to a second.
        retry_s: how long calls that may be repeated are, while the server cannot be reached.
        shards: parts of a new collection.
        replicas: copies of every point of a new collection; an acknowledged write is on a majority.
        links: M of HNSW.
        ef_construction: candidates kept while a row is linked into the graph.
        batch_bytes: of vectors in one upsert.
        answer_bytes: of vectors in one answer.
        scan_rows: most rows that are read where Qdrant cannot answer a search itself.
        skew_s: most seconds that the clocks of two gateways may be apart.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        path: Path | str | None = None,
        grpc_port: int = 6334,
        api_key: str = "",
        timeout_s: float = 30.0,
        retry_s: float = 5.0,
        shards: int = 1,
        replicas: int = 1,
        links: int = 32,
        ef_construction: int = 128,
        batch_bytes: int = 64 * 2**20,
        answer_bytes: int = 32 * 2**20,
        scan_rows: int = 1_000_000,
        skew_s: float = 5.0,
    ) -> None:
        self._client = Client(
            url, grpc_port=grpc_port, path=path, api_key=api_key, timeout_s=timeout_s,
            retry_s=retry_s,
        )  # fmt: skip
        self._reader = Reader(self._client, answer_bytes)
        self._clock = Clock(skew_s)
        self._catalogue = Catalogue(
            self._client, Building(links, ef_construction, shards, replicas)
        )
        self._writing = Writing(self._reader, self._clock, batch_bytes)
        self._scan_rows = scan_rows
        self._known_operators: frozenset[str] | None = None

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
            metrics=frozenset(DISTANCES),
            kinds=LOCAL_KINDS if self._client.is_local else KINDS,
            filters=self._operators(),
            durable=False,
            read_your_writes=True,
            request_ids=True,
            exact=True,
            snapshots=False,
            atomic=False,
            prefixes=False,
            counts_writes=False,
        )

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        checks.check_spec(spec)
        layout = layout_of(spec, made=secrets.token_hex(8), is_local=self._client.is_local)
        with self._writing.turn(layout):
            self._catalogue.create(layout)
            # another gateway may have been first
            if self._catalogue.layout(spec.name).made != layout.made:
                raise AlreadyExistsError(f"collection {spec.name!r} exists")
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
        """See `Store.describe`; sizes are Qdrant's own affair and 0 here."""
        layout = self._catalogue.layout(name)
        seq = self._clock.now()
        return info_of(layout.spec, layout.kind, self._reader.count(layout, None), seq)

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """See `Store.tenants`."""
        layout = self._catalogue.layout(name)
        found = self._reader.call(layout, "facet", key="tenant", limit=limit, exact=True)
        return dict(sorted((hit.value, hit.count) for hit in found.hits if hit.count))

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
        layout = self._catalogue.layout(name)
        checks.check_same_space(layout.spec, space)
        checks.check_request_id(request_id)
        checks.check_tenant(tenant)
        checks.check_ids([item.id for item in items])
        checks.check_origins(items)
        return self._writing.upsert(
            layout, items, request_id=request_id, add_only=add_only, tenant=tenant
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
        checks.check_delete(ids, filter, tenant)
        where = Where.of(tenant, filter, self._operators())
        layout = self._catalogue.layout(name)
        if ids is not None:
            return self._writing.delete_ids(layout, ids, tenant)
        return self._writing.delete_where(layout, where)

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
        checks.check_tenant(tenant)
        keys = keys_of(tenant, ids)
        rows = self._reader.by_keys(self._catalogue.layout(name), keys, with_vectors=with_vectors)
        for item_id, key in zip(ids, keys, strict=True):
            if key not in rows or (rows[key]["tenant"], rows[key]["id"]) != (tenant, item_id):
                raise ItemNotFoundError(f"no item {item_id!r} in collection {name!r}")
        return [item_of(rows[key]) for key in keys]

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        layout = self._catalogue.layout(name)
        checks.check_same_space(layout.spec, space)
        checks.check_params(layout.spec, params)
        queries = checks.query_vectors(layout.spec, vectors, params)
        self._clock.meet(params.min_seq)
        seq = self._clock.now()
        where = Where.of(params.tenant, params.filter, self._operators())
        search = Search(self._reader, layout, where, params, self._scan_rows)
        hits = search.run(queries)
        return Found(
            hits=tuple(hits),
            seq=seq,
            dimension=search.plan.final,
            is_exact=search.is_exact,
            higher_is_better=layout.spec.higher_is_better,
            route=search.plan.route,
        )

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
        last: tuple[int, int] | None = checks.check_page(cursor, limit)
        where = Where.of(tenant, filter, self._operators())
        layout = self._catalogue.layout(name)
        rows: list[dict[str, Any]] = []
        while last is not None and not rows:
            rows, last = self._reader.after(layout, where, last, limit, with_vectors=with_vectors)
        items = tuple(map(item_of, rows))
        return Page(items, None if last is None else f"{last[0]}.{last[1]}")

    def count(
        self,
        name: str,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> int:
        """See `Store.count`."""
        where = Where.of(tenant, filter, self._operators())
        layout = self._catalogue.layout(name)
        if where.is_whole:
            return self._reader.count(layout, where)
        return sum(map(len, self._reader.all(layout, where, with_vectors=False)))

    def stats(self) -> StoreStats:
        """See `Store.stats`; writes are those of this gateway, sizes are Qdrant's own affair."""
        return stats_of(self.collections(), self._writing.count)

    def _operators(self) -> frozenset[str]:
        if self._known_operators is None:
            is_young = self._client.is_local or self._version() >= PREFIX_SINCE
            self._known_operators = OPERATORS | {"prefix"} if is_young else OPERATORS
        return self._known_operators

    def _version(self) -> tuple[int, ...]:
        told = re.match(r"(\d+)\.(\d+)", str(self._client.call("info").version))
        return tuple(map(int, told.groups())) if told else ()
