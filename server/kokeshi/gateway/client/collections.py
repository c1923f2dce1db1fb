"""The calls of collections from Python."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar, Unpack

from google.protobuf.message import Message

from kokeshi.gateway.client import collection_answers as answers
from kokeshi.gateway.client import requests
from kokeshi.gateway.client.calls import message, stream
from kokeshi.gateway.client.collection_requests import json_text, search_request
from kokeshi.gateway.client.requests import Asked
from kokeshi.service import types
from kokeshi.v1 import collections_pb2 as cpb
from kokeshi.v1.collections_pb2_grpc import CollectionsStub

T = TypeVar("T")


class CollectionsClient:
    """Every call about collections; see `kokeshi.service.collections.CollectionCalls`."""

    address: str
    _collections: CollectionsStub
    _call: Callable[[Callable[..., Any], Message], Any]

    def create_collection(
        self,
        name: str,
        model: str,
        *,
        index: str = "auto",
        durability: str = "fsync",
        metric: str = "",
    ) -> types.CollectionInfo:
        """Makes an empty collection in the embedding space of a model; see the service."""
        request = message(
            cpb.CreateCollectionRequest,
            name=name,
            model=model,
            index=f"INDEX_KIND_{index.upper()}",
            durability=f"DURABILITY_{durability.upper()}",
            metric=metric,
        )
        return answers.collection(self._call(self._collections.CreateCollection, request))

    def list_collections(self) -> list[types.CollectionInfo]:
        """All collections, by name."""
        answer = self._call(self._collections.ListCollections, cpb.ListCollectionsRequest())
        return [answers.collection(info) for info in answer.collections]

    def describe_collection(self, name: str) -> types.CollectionInfo:
        """One collection."""
        request = message(cpb.DescribeCollectionRequest, name=name)
        return answers.collection(self._call(self._collections.DescribeCollection, request))

    def delete_collection(self, name: str) -> None:
        """Removes a collection with all its items and aliases."""
        request = message(cpb.DeleteCollectionRequest, name=name)
        self._call(self._collections.DeleteCollection, request)

    def set_aliases(self, aliases: Sequence[types.Alias]) -> list[types.Alias]:
        """Points names at collections, all at once or none; those that exist move."""
        told = [cpb.Alias(name=alias.name, collection=alias.collection) for alias in aliases]
        request = message(cpb.SetAliasesRequest, aliases=told)
        return answers.aliases(self._call(self._collections.SetAliases, request).aliases)

    def list_aliases(self, collection: str = "") -> list[types.Alias]:
        """Aliases by name, of one collection or of all."""
        request = message(cpb.ListAliasesRequest, collection=collection)
        return answers.aliases(self._call(self._collections.ListAliases, request).aliases)

    def delete_alias(self, name: str) -> None:
        """Removes an alias; the collection stays."""
        self._call(self._collections.DeleteAlias, message(cpb.DeleteAliasRequest, name=name))

    def add_items(
        self,
        collection: str,
        items: Sequence[types.NewItem],
        *,
        on_conflict: types.OnConflict | str = types.OnConflict.FAIL,
        request_id: str = "",
        space: str = "",
        tenant: str = "",
    ) -> types.Written:
        """Embeds and keeps items, all or none; see `Service.add_items`."""
        request = message(
            cpb.AddItemsRequest,
            collection=collection,
            items=[requests.new_item(item) for item in items],
            on_conflict=f"ON_CONFLICT_{on_conflict.upper()}",
            request_id=request_id,
            space=space,
            tenant=tenant,
        )
        answer = self._call(self._collections.AddItems, request)
        return types.Written(answer.count, answer.sequence)

    def ingest(
        self,
        collection: str,
        batches: Iterable[tuple[int, Sequence[types.NewItem]]],
        *,
        stream_id: str = "",
        on_conflict: types.OnConflict | str = types.OnConflict.FAIL,
        space: str = "",
        tenant: str = "",
    ) -> Generator[types.Ingested, None, None]:
        """Keeps batches of (offset, items) as the server takes them; see `Service.ingest`.

        It lasts as long as the batches do, and has no timeout; `close` ends it before. After an
        error, call it again with the same `stream_id` and the batches from the last offset that
        was answered.
        """

        def sent() -> Iterator[cpb.IngestRequest]:
            for offset, items in batches:
                yield message(
                    cpb.IngestRequest,
                    collection=collection,
                    stream_id=stream_id,
                    tenant=tenant,
                    on_conflict=f"ON_CONFLICT_{on_conflict.upper()}",
                    space=space,
                    offset=offset,
                    items=[requests.new_item(item) for item in items],
                )

        told = stream(self._collections.Ingest, sent(), address=self.address)
        return _each(told, answers.ingested)

    def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        with_vectors: bool = False,
        tenant: str = "",
    ) -> list[types.StoredItem]:
        """Items by id, in that order; an id that does not exist is an error."""
        request = message(
            cpb.GetItemsRequest,
            collection=collection,
            ids=ids,
            with_vectors=with_vectors,
            tenant=tenant,
        )
        return answers.items(self._call(self._collections.GetItems, request).items)

    def list_items(
        self,
        collection: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        with_vectors: bool = False,
        filter: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> types.ItemPage:
        """A page of items that fit, oldest first."""
        request = message(
            cpb.ListItemsRequest,
            collection=collection,
            page_size=page_size,
            page_token=page_token,
            with_vectors=with_vectors,
            filter_json=json_text(filter),
            tenant=tenant,
        )
        answer = self._call(self._collections.ListItems, request)
        return types.ItemPage(answers.items(answer.items), answer.next_page_token)

    def count_items(
        self, collection: str, *, filter: Mapping[str, Any] | None = None, tenant: str = ""
    ) -> int:
        """Items that fit."""
        request = message(
            cpb.CountItemsRequest,
            collection=collection,
            filter_json=json_text(filter),
            tenant=tenant,
        )
        count: int = self._call(self._collections.CountItems, request).count
        return count

    def list_tenants(self, collection: str) -> list[types.Tenant]:
        """Whose items a collection has, by name; see `Service.list_tenants`."""
        request = message(cpb.ListTenantsRequest, collection=collection)
        return answers.tenants(self._call(self._collections.ListTenants, request).tenants)

    def delete_items(
        self,
        collection: str,
        ids: Sequence[str] = (),
        *,
        filter: Mapping[str, Any] | None = None,
        tenant: str = "",
    ) -> types.Written:
        """Removes items by ids or by a filter; the count is of those that existed."""
        request = message(
            cpb.DeleteItemsRequest,
            collection=collection,
            ids=ids,
            filter_json=json_text(filter),
            tenant=tenant,
        )
        answer = self._call(self._collections.DeleteItems, request)
        return types.Written(answer.count, answer.sequence)

    def search(
        self, collection: str, queries: Sequence[Asked] = (), **how: Unpack[types.SearchWords]
    ) -> types.Found:
        """The nearest items of each query, best first; see `Service.search`."""
        request = search_request(collection, queries, how)
        return answers.found(self._call(self._collections.Search, request))

    def search_stream(
        self,
        collection: str,
        searches: Iterable[tuple[int, Sequence[Asked], types.SearchWords]],
    ) -> Generator[tuple[int, types.Found | types.Failed], None, None]:
        """Sends searches of (number, queries, options); gives each answer as it is ready.

        `close` ends it before the searches do.

        Yields:
            The number of a search and what came of it, in any order.
        """

        def sent() -> Iterator[cpb.SearchStreamRequest]:
            for number, queries, how in searches:
                request = search_request(collection, queries, how)
                yield cpb.SearchStreamRequest(id=number, search=request)

        told = stream(self._collections.SearchStream, sent(), address=self.address)
        return _each(told, answers.answered)

    def explain(
        self,
        collection: str,
        item_id: str,
        queries: Sequence[Asked] = (),
        **how: Unpack[types.SearchWords],
    ) -> types.Explanation:
        """Where an item stands in a search of one query; see `Service.explain`."""
        search = search_request(collection, queries, how)
        request = message(cpb.ExplainRequest, search=search, id=item_id)
        return answers.explanation(self._call(self._collections.Explain, request))


def _each(told: Generator[Any, None, None], read: Callable[[Any], T]) -> Generator[T, None, None]:
    """What is read of each answer; the call ends when it is closed."""
    with closing(told):
        yield from map(read, told)
