"""A store that hands every call on to another: the base of stores that watch or change a few."""

from collections.abc import Sequence

import numpy.typing as npt

from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.filters import Filter
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.store import Store


class PassingStore:
    """See `kokeshi.index.store.Store`. `inner` is the store that does the work."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return self.inner.capabilities

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        return self.inner.create(spec)

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.ensure`."""
        return self.inner.ensure(spec)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self.inner.drop(name)

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`."""
        return self.inner.collections()

    def describe(self, name: str) -> CollectionInfo:
        """See `Store.describe`."""
        return self.inner.describe(name)

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
        return self.inner.upsert(
            name, items, space=space, request_id=request_id, add_only=add_only, tenant=tenant
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
        return self.inner.delete(name, ids, filter=filter, tenant=tenant)

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
        """See `Store.get`."""
        return self.inner.get(name, ids, with_vectors=with_vectors, tenant=tenant)

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        return self.inner.search(name, vectors, params, space=space)

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
        return self.inner.scroll(
            name,
            cursor=cursor,
            limit=limit,
            with_vectors=with_vectors,
            filter=filter,
            tenant=tenant,
        )

    def count(self, name: str, *, filter: Filter | None = None, tenant: str = NO_TENANT) -> int:
        """See `Store.count`."""
        return self.inner.count(name, filter=filter, tenant=tenant)

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """See `Store.tenants`."""
        return self.inner.tenants(name, limit=limit)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        return self.inner.stats()

    def close(self) -> None:
        """See `Store.close`."""
        self.inner.close()
