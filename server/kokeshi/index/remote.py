"""The store of another process of this server."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy.typing as npt

from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.filters import Filter
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.store import Store
from kokeshi.local_calls import Caller, Listener, answer_calls

if TYPE_CHECKING:
    from kokeshi.index.recall import Choice

CALLS: Final = (
    "create", "ensure", "drop", "collections", "describe", "upsert", "delete", "get", "search",
    "scroll", "count", "tenants", "stats",
)  # fmt: skip
CHOOSE: Final = "choose"


def serve_store(store: Store, path: Path) -> Listener:
    """Answers the calls of every `RemoteStore` on a Unix socket, until it is closed.

    Args:
        store: what answers; it is not closed.
        path: of the socket, in a folder that nobody else may enter.
    """
    # a store that measures recall also chooses by it
    names = (*CALLS, *([CHOOSE] if hasattr(store, CHOOSE) else ()))
    calls = {name: getattr(store, name) for name in names}
    return Listener(path, answer_calls({**calls, "capabilities": lambda: store.capabilities}))


class RemoteStore:
    """See `kokeshi.index.store.Store`. Every call raises UnavailableError while it is gone.

    Args:
        path: of the socket of `serve_store`.
    """

    def __init__(self, path: Path) -> None:
        self._call = Caller(path, "the process that keeps the collections")

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return self._call("capabilities")

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.create`."""
        return self._call("create", spec)

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """See `Store.ensure`."""
        return self._call("ensure", spec)

    def drop(self, name: str) -> None:
        """See `Store.drop`."""
        self._call("drop", name)

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`."""
        return self._call("collections")

    def describe(self, name: str) -> CollectionInfo:
        """See `Store.describe`."""
        return self._call("describe", name)

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
        return self._call(
            "upsert",
            name,
            items,
            space=space,
            request_id=request_id,
            add_only=add_only,
            tenant=tenant,
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
        return self._call("delete", name, ids, filter=filter, tenant=tenant)

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
        """See `Store.get`."""
        return self._call("get", name, ids, with_vectors=with_vectors, tenant=tenant)

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """See `Store.search`."""
        return self._call("search", name, vectors, params, space=space)

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
        return self._call(
            "scroll",
            name,
            cursor=cursor,
            limit=limit,
            with_vectors=with_vectors,
            filter=filter,
            tenant=tenant,
        )

    def count(
        self,
        name: str,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> int:
        """See `Store.count`."""
        return self._call("count", name, filter=filter, tenant=tenant)

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """See `Store.tenants`."""
        return self._call("tenants", name, limit=limit)

    def choose(
        self,
        name: str,
        params: SearchParams,
        *,
        recall_target: float | None = None,
        budget_ms: float | None = None,
    ) -> "Choice":
        """See `kokeshi.index.recall.Measured.choose`; only of a store that measures."""
        wishes = {"recall_target": recall_target, "budget_ms": budget_ms}
        return self._call(CHOOSE, name, params, **wishes)

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        return self._call("stats")

    def close(self) -> None:
        """Lets go of the connections; the store itself belongs to the other process."""
        self._call.close()
