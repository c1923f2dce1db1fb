"""The collection calls of the service, as the doors make them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from kokeshi.service.collection_types import (
    Alias,
    CollectionInfo,
    CollectionLimits,
    IngestBatch,
    Ingested,
    IngestOptions,
    ItemPage,
    NewItem,
    OnConflict,
    StoredItem,
    Tenant,
    Written,
)
from kokeshi.service.inputs import Input
from kokeshi.service.search_types import Explanation, Found, SearchOptions, SearchWords
from kokeshi.service.swaps import survives_swaps

if TYPE_CHECKING:
    from kokeshi.service.collections import Collections


class CollectionCalls:
    """Every call about collections; `collection` is a name or an alias of one.

    A tenant sees its own items and no other's; "" is nobody's. A `filter` is JSON, see
    `kokeshi.index.filters.filter_of`.
    """

    _collections: "Collections"

    @property
    def collection_limits(self) -> CollectionLimits:
        """Sizes that calls of collections must keep."""
        return self._collections.ground.collection_limits

    async def create_collection(
        self,
        name: str,
        model: str,
        *,
        index: str = "auto",
        durability: str = "fsync",
        metric: str = "",
    ) -> CollectionInfo:
        """Makes an empty collection in the embedding space of a model.

        Args:
            name: of the collection.
            model: whose space it takes.
            index: how it is searched.
            durability: when a write is acknowledged.
            metric: how vectors are compared, as they were given; "" as the model's card says. In a
                space of "cosine", "ip" or "l2" any of the three.

        Raises:
            AlreadyExistsError: the name is taken.
            InvalidRequestError: the space has no such metric.
        """
        return await self._collections.naming.create(
            name, model, index_kind=index, durability=durability, metric=metric
        )

    async def list_collections(self) -> Sequence[CollectionInfo]:
        """All collections, by name."""
        return await self._collections.naming.list()

    async def describe_collection(self, name: str) -> CollectionInfo:
        """One collection."""
        return await self._collections.naming.describe(name)

    async def delete_collection(self, name: str) -> None:
        """Removes a collection with all its items and aliases.

        Raises:
            InvalidRequestError: the name is an alias.
        """
        await self._collections.naming.drop(name)

    async def set_aliases(self, aliases: Sequence[Alias]) -> Sequence[Alias]:
        """Points names at collections, all at once or none; those that exist move.

        Raises:
            AlreadyExistsError: a name is that of a collection.
        """
        return await self._collections.naming.set_aliases(aliases)

    async def list_aliases(self, collection: str = "") -> Sequence[Alias]:
        """Aliases by name, of one collection or of all."""
        return await self._collections.naming.aliases(collection)

    async def delete_alias(self, name: str) -> None:
        """Removes an alias; the collection stays.

        Raises:
            NotFoundError: there is none.
        """
        await self._collections.naming.delete_alias(name)

    async def add_items(
        self,
        collection: str,
        items: Sequence[NewItem],
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        request_id: str = "",
        space: str = "",
        tenant: str = "",
        timeout_s: float | None = None,
    ) -> Written:
        """Embeds and keeps items, all or none; returns when they are on disk.

        Args:
            collection: where to.
            items: images, texts or vectors.
            on_conflict: what to do about an id that exists.
            request_id: a retry with the same one is answered without storing twice.
            space: of vectors; refused if it is not the collection's.
            tenant: whose items they are.
            timeout_s: the caller's deadline.

        Raises:
            AlreadyExistsError: an id exists, and `on_conflict` is to fail.
            SpaceMismatchError: the vectors, or the model as it is now, are of another space.
        """
        return await self._collections.keeping.add(
            collection,
            items,
            on_conflict=on_conflict,
            request_id=request_id,
            space=space,
            tenant=tenant,
            timeout_s=timeout_s,
        )

    def ingest(
        self, collection: str, batches: AsyncIterator[IngestBatch], options: IngestOptions
    ) -> AsyncIterator[Ingested]:
        """Embeds and keeps batch after batch; each is answered when it is on disk, in order.

        An item that is refused does not stop the others. Batches are not read while
        `max_ingest_batches` are under way.

        Args:
            collection: where to.
            batches: their offsets ascend.
            options: with a `stream_id`, batches that come again under their offsets are stored
                once: after a lost connection, send again from the last offset that was answered.

        Raises:
            KokeshiError: the stream cannot go on; what was answered stays stored.
        """
        return self._collections.ingesting.ingest(collection, batches, options)

    async def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = "",
    ) -> Sequence[StoredItem]:
        """Items by id, in that order.

        Raises:
            ItemNotFoundError: one of them does not exist.
        """
        return await self._collections.keeping.get(
            collection, ids, with_vectors=with_vectors, tenant=tenant
        )

    async def list_items(
        self,
        collection: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        with_vectors: bool = False,
        filter: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> ItemPage:
        """A page of items that fit, oldest first."""
        return await self._collections.keeping.scroll(
            collection,
            page_size=page_size,
            page_token=page_token,
            with_vectors=with_vectors,
            filter=filter,
            tenant=tenant,
        )

    async def count_items(
        self, collection: str, *, filter: Mapping[str, Any] | None = None, tenant: str = ""
    ) -> int:
        """Items that fit."""
        return await self._collections.keeping.count(collection, filter=filter, tenant=tenant)

    async def list_tenants(self, collection: str) -> Sequence[Tenant]:
        """Whose items a collection has, by name; tenants without items are left out.

        Raises:
            InvalidRequestError: there are more than `max_tenants`.
            UnimplementedError: the store does not know their names.
        """
        return await self._collections.keeping.tenants(collection)

    async def delete_items(
        self,
        collection: str,
        ids: Sequence[str] = (),
        *,
        filter: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> Written:
        """Removes items by ids or by a filter; the count is of those that existed."""
        return await self._collections.keeping.delete(collection, ids, filter=filter, tenant=tenant)

    @survives_swaps
    async def search(
        self,
        collection: str,
        queries: Sequence[Input] = (),
        *,
        timeout_s: float | None = None,
        **how: Unpack[SearchWords],
    ) -> Found:
        """The nearest items of each query, best first.

        Args:
            collection: where to look.
            queries: images, texts, or vectors with their `space`.
            timeout_s: the caller's deadline.
            how: see `SearchOptions`.

        Raises:
            SpaceMismatchError: the queries are of another space than the collection.
            ItemNotFoundError: a query or an example is an item that does not exist.
        """
        options = SearchOptions(**how)
        return await self._collections.searching.search(collection, queries, options, timeout_s)

    def search_at_once(
        self, collection: str, queries: Sequence[Input] = (), **how: Unpack[SearchWords]
    ) -> Found | None:
        """`search` on the calling thread, where it will take a millisecond or two.

        Returns:
            None: something has to be embedded or read first, searches like it were not seen to be
            quick, or too many run like this one already; `search` answers it.
        """
        return self._collections.searching.search_at_once(collection, queries, SearchOptions(**how))

    @survives_swaps
    async def explain(
        self,
        collection: str,
        item_id: str,
        queries: Sequence[Input] = (),
        *,
        timeout_s: float | None = None,
        **how: Unpack[SearchWords],
    ) -> Explanation:
        """Where an item stands in a search of one query, and why it is not among the hits.

        An item of another tenant is told as one that is not stored.

        Args:
            collection: where to look.
            item_id: the item.
            queries: as of `search`.
            timeout_s: the caller's deadline.
            how: see `SearchOptions`.
        """
        options = SearchOptions(**how)
        return await self._collections.explaining.explain(
            collection, queries, item_id, options, timeout_s
        )
