"""The store of embeddings as the service sees it: its calls.

Neither these nor their records (`asked`, `capabilities`, `found`, `info`, `items`, `spec`) know
SQLite or FAISS, so that a distributed engine can stand behind the same calls. Calls block and may
be made from many threads at once. What a store cannot do it declares (`Capabilities`), and refuses
with UnimplementedError.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy.typing as npt

from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.filters import Filter
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import MAX_TENANTS, NO_TENANT, Item, Page, Receipt
from kokeshi.index.spec import CollectionSpec


class Store(Protocol):
    """Collections of embeddings.

    Every call that names a collection raises CollectionNotFoundError for an unknown one and
    UnavailableError for one in quarantine; arguments that can never be right raise
    InvalidRequestError. A tenant sees its own items and no other's; ids are unique in a tenant.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def create(self, spec: CollectionSpec) -> CollectionInfo:
        """Makes a collection.

        Raises:
            AlreadyExistsError: the name is taken.
        """

    def ensure(self, spec: CollectionSpec) -> CollectionInfo:
        """Makes a collection, or finds the one that is there already.

        Raises:
            SpaceMismatchError: it is there with vectors of another space.
            AlreadyExistsError: it is there with other settings.
        """

    def drop(self, name: str) -> None:
        """Removes a collection and all that it holds; one in quarantine too."""

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name; those in quarantine too."""

    def describe(self, name: str) -> CollectionInfo:
        """One collection; one in quarantine too."""

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
        """Writes all items or none; an id that exists is replaced.

        Args:
            name: the collection.
            items: at least one, no id twice.
            space: fingerprint of the space that the vectors are in.
            request_id: a retry with the same id and items returns the first receipt.
            add_only: refuses ids that exist.
            tenant: whose items they are.

        Raises:
            SpaceMismatchError: the vectors are of another space.
            AlreadyExistsError: `add_only`, and an id exists.
            OverloadedError: the queue of writes or the disk is full.
        """

    def delete(
        self,
        name: str,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        tenant: str = NO_TENANT,
    ) -> Receipt:
        """Deletes items by id or by filter; an unknown id is no error and does not count.

        Args:
            name: the collection.
            ids: of items; None where a filter says which.
            filter: see `SearchParams`; None where ids are given.
            tenant: whose items.
        """

    def get(
        self,
        name: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = NO_TENANT,
    ) -> list[Item]:
        """Items in the order of `ids`, vectors with the bytes that were given.

        Raises:
            ItemNotFoundError: an id is unknown.
        """

    def search(
        self, name: str, vectors: npt.ArrayLike, params: SearchParams, *, space: str
    ) -> Found:
        """Nearest items of each query, at most `params.k` of them.

        Args:
            name: the collection.
            vectors: (queries, dim), or (queries, params.dimension) when cut already.
            params: how to search.
            space: fingerprint of the space that made the queries.

        Raises:
            SpaceMismatchError: the queries are of another space.
            DimensionError: the prefix length was not trained.
        """

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
        """A page of items, oldest first.

        An item that is not touched during a scroll is seen once; one that is replaced may be seen
        again, as its new self. A page that is not the last may hold fewer than `limit` items.
        """

    def count(self, name: str, *, filter: Filter | None = None, tenant: str = NO_TENANT) -> int:
        """Items that fit."""

    def tenants(self, name: str, *, limit: int = MAX_TENANTS) -> dict[str, int]:
        """How many items each tenant has, by name, ascending; "" is nobody's.

        Those without items are left out. Where there are more than `limit`, it is the store's
        affair which ones are told.

        Raises:
            UnimplementedError: the store does not know their names.
        """

    def stats(self) -> StoreStats:
        """Counters and sizes."""

    def close(self) -> None:
        """Finishes accepted writes and lets go of the data."""
