"""Items: added, read, listed, counted and deleted."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kokeshi import index, metrics
from kokeshi.errors import InvalidRequestError
from kokeshi.index.checks import MAX_PAGE_ROWS
from kokeshi.index.filters import Filter, filter_of
from kokeshi.service.classify import check_k
from kokeshi.service.collection_types import (
    ItemPage,
    NewItem,
    OnConflict,
    StoredItem,
    Tenant,
    Written,
)
from kokeshi.service.collections import pages
from kokeshi.service.collections.ground import Ground

PAGE_ITEMS: Final = 100


def wanted_of(filter: Mapping[str, Any] | None) -> Filter | None:
    """The filter of a request; None where there is none.

    Raises:
        InvalidRequestError: it is malformed, with the place.
    """
    return None if filter is None else filter_of(filter)


class Keeping:
    """The calls about items."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def add(
        self,
        name: str,
        items: Sequence[NewItem],
        *,
        on_conflict: OnConflict,
        request_id: str,
        space: str,
        tenant: str,
        timeout_s: float | None,
    ) -> Written:
        """See `Service.add_items`."""
        most = self._ground.limits.max_inputs
        if not 1 <= len(items) <= most:
            raise InvalidRequestError(f"a call adds 1 to {most} items, not {len(items)}")
        spec = (await self._ground.info(name)).spec
        inputs = [item.input for item in items]
        found = await self._ground.vectors(spec, spec.model, inputs, space, timeout_s)
        rows = [
            index.Item(item.id, vector, item.metadata)
            for item, vector in zip(items, found, strict=True)
        ]
        written = await self.store(
            spec, rows, on_conflict=on_conflict, request_id=request_id, tenant=tenant
        )
        await self._ground.recount(spec.name)
        return written

    async def store(
        self,
        spec: index.CollectionSpec,
        rows: Sequence[index.Item],
        *,
        on_conflict: OnConflict,
        request_id: str,
        tenant: str,
    ) -> Written:
        """Writes rows, all or none."""
        started_s = time.perf_counter()
        receipt = await self._ground.call(
            lambda: self._ground.store.upsert(
                spec.name,
                rows,
                space=spec.space,
                request_id=request_id or None,
                add_only=on_conflict is OnConflict.FAIL,
                tenant=tenant,
            )
        )
        metrics.WRITE_SECONDS.labels(spec.name).observe(time.perf_counter() - started_s)
        return Written(receipt.count, receipt.seq)

    async def get(
        self, name: str, ids: Sequence[str], *, with_vectors: bool, tenant: str
    ) -> Sequence[StoredItem]:
        """See `Service.get_items`."""
        known = (await self._ground.info(name)).spec.name
        items = await self._ground.call(
            lambda: self._ground.store.get(known, ids, with_vectors=with_vectors, tenant=tenant)
        )
        return [_stored(item) for item in items]

    async def scroll(
        self,
        name: str,
        *,
        page_size: int,
        page_token: str,
        with_vectors: bool,
        filter: Mapping[str, Any] | None,
        tenant: str,
    ) -> ItemPage:
        """See `Service.list_items`."""
        most = min(self._ground.limits.max_k, MAX_PAGE_ROWS)
        limit = check_k("page_size", page_size or None, PAGE_ITEMS, most)
        wanted = wanted_of(filter)
        spec = (await self._ground.info(name)).spec
        listing = pages.listing(spec, tenant, filter)
        cursor = pages.cursor_of(page_token, listing) if page_token else None
        page = await self._ground.call(
            lambda: self._ground.store.scroll(
                spec.name,
                cursor=cursor,
                limit=limit,
                with_vectors=with_vectors,
                filter=wanted,
                tenant=tenant,
            )
        )
        token = pages.token_of(page.cursor, listing) if page.cursor else ""
        return ItemPage([_stored(item) for item in page.items], token)

    async def count(self, name: str, *, filter: Mapping[str, Any] | None, tenant: str) -> int:
        """See `Service.count_items`."""
        wanted = wanted_of(filter)
        known = (await self._ground.info(name)).spec.name
        return await self._ground.call(
            lambda: self._ground.store.count(known, filter=wanted, tenant=tenant)
        )

    async def tenants(self, name: str) -> Sequence[Tenant]:
        """See `Service.list_tenants`."""
        most = self._ground.collection_limits.max_tenants
        known = (await self._ground.info(name)).spec.name
        found = await self._ground.call(lambda: self._ground.store.tenants(known, limit=most + 1))
        if len(found) > most:
            raise InvalidRequestError(
                f"at most {most} tenants are listed, collection {known!r} has more"
            )
        return [Tenant(tenant, count) for tenant, count in found.items()]

    async def delete(
        self,
        name: str,
        ids: Sequence[str],
        *,
        filter: Mapping[str, Any] | None,
        tenant: str,
    ) -> Written:
        """See `Service.delete_items`."""
        if ids and filter is not None:
            raise InvalidRequestError("expected ids or a filter to delete by, got both")
        if not ids and filter is None:
            raise InvalidRequestError("expected ids or a filter to delete by, got neither")
        wanted = wanted_of(filter)
        known = (await self._ground.info(name)).spec.name
        receipt = await self._ground.call(
            lambda: self._ground.store.delete(
                known, ids if wanted is None else None, filter=wanted, tenant=tenant
            )
        )
        await self._ground.recount(known)
        return Written(receipt.count, receipt.seq)


def _stored(item: index.Item) -> StoredItem:
    return StoredItem(item.id, item.metadata, item.seq, item.vector, item.origin)
