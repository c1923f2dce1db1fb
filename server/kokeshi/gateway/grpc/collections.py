"""The RPCs of Collections: unpack, call the service, pack."""

from collections.abc import AsyncIterator, Awaitable, Callable

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside, found_bytes
from kokeshi.gateway.grpc import pack_collections, unpack, unpack_collections
from kokeshi.gateway.grpc.methods import Tell
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.gateway.ingest import Batch, add_batches
from kokeshi.gateway.streaming import Asked, answer_each
from kokeshi.service import Service
from kokeshi.service.types import Alias, Found, IngestBatch
from kokeshi.v1 import collections_pb2 as cpb
from kokeshi.v1 import collections_pb2_grpc


class CollectionsServicer(collections_pb2_grpc.CollectionsServicer):
    """See collections.proto."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def CreateCollection(
        self, request: cpb.CreateCollectionRequest, context: Rpc
    ) -> cpb.Collection:
        """See collections.proto."""
        info = await self._service.create_collection(
            request.name,
            request.model,
            index=unpack.word(cpb.IndexKind, request.index, "index", "auto"),
            durability=unpack.word(cpb.Durability, request.durability, "durability", "fsync"),
            metric=request.metric,
        )
        return pack_collections.collection(info)

    async def ListCollections(
        self, request: cpb.ListCollectionsRequest, context: Rpc
    ) -> cpb.ListCollectionsResponse:
        """See collections.proto."""
        infos = await self._service.list_collections()
        told = [pack_collections.collection(info) for info in infos]
        return cpb.ListCollectionsResponse(collections=told)

    async def DescribeCollection(
        self, request: cpb.DescribeCollectionRequest, context: Rpc
    ) -> cpb.Collection:
        """See collections.proto."""
        info = await self._service.describe_collection(request.name)
        return pack_collections.collection(info)

    async def DeleteCollection(
        self, request: cpb.DeleteCollectionRequest, context: Rpc
    ) -> cpb.DeleteCollectionResponse:
        """See collections.proto."""
        await self._service.delete_collection(request.name)
        return cpb.DeleteCollectionResponse()

    async def SetAliases(
        self, request: cpb.SetAliasesRequest, context: Rpc
    ) -> cpb.SetAliasesResponse:
        """See collections.proto."""
        aliases = [Alias(alias.name, alias.collection) for alias in request.aliases]
        told = await self._service.set_aliases(aliases)
        return cpb.SetAliasesResponse(aliases=pack_collections.aliases(told))

    async def ListAliases(
        self, request: cpb.ListAliasesRequest, context: Rpc
    ) -> cpb.ListAliasesResponse:
        """See collections.proto."""
        told = await self._service.list_aliases(request.collection)
        return cpb.ListAliasesResponse(aliases=pack_collections.aliases(told))

    async def DeleteAlias(
        self, request: cpb.DeleteAliasRequest, context: Rpc
    ) -> cpb.DeleteAliasResponse:
        """See collections.proto."""
        await self._service.delete_alias(request.name)
        return cpb.DeleteAliasResponse()

    async def AddItems(self, request: cpb.AddItemsRequest, context: Rpc) -> cpb.AddItemsResponse:
        """See collections.proto."""
        batch = unpack_collections.batch(request)
        written = await self._service.add_items(
            batch.collection,
            batch.items,
            on_conflict=batch.on_conflict,
            request_id=batch.request_id,
            space=batch.space,
            tenant=batch.tenant,
            timeout_s=context.time_remaining(),
        )
        return cpb.AddItemsResponse(count=written.count, sequence=written.sequence)

    async def AddItemsStream(
        self, requests: AsyncIterator[cpb.AddItemsRequest], context: Rpc
    ) -> cpb.AddItemsResponse:
        """See collections.proto."""

        async def batches() -> AsyncIterator[Batch]:
            async for request in requests:
                yield unpack_collections.batch(request)

        written = await add_batches(self._service, batches(), context.time_remaining)
        return cpb.AddItemsResponse(count=written.count, sequence=written.sequence)

    async def Ingest(
        self, requests: AsyncIterator[cpb.IngestRequest], context: Rpc
    ) -> AsyncIterator[cpb.IngestResponse]:
        """See collections.proto."""
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidRequestError("the stream held no batch")

        async def batches() -> AsyncIterator[IngestBatch]:
            yield unpack_collections.ingest_batch(first)
            async for request in requests:
                yield unpack_collections.ingest_batch(request)

        options = unpack_collections.ingest_options(first)
        async for told in self._service.ingest(first.collection, batches(), options):
            yield pack_collections.ingested(told)

    async def GetItems(self, request: cpb.GetItemsRequest, context: Rpc) -> cpb.GetItemsResponse:
        """See collections.proto."""
        items = await self._service.get_items(
            request.collection,
            list(request.ids),
            with_vectors=request.with_vectors,
            tenant=request.tenant,
        )
        return cpb.GetItemsResponse(items=[pack_collections.item(item) for item in items])

    async def ListItems(self, request: cpb.ListItemsRequest, context: Rpc) -> cpb.ListItemsResponse:
        """See collections.proto."""
        page = await self._service.list_items(
            request.collection,
            page_size=request.page_size,
            page_token=request.page_token,
            with_vectors=request.with_vectors,
            filter=unpack_collections.wanted(request.filter_json),
            tenant=request.tenant,
        )
        items = [pack_collections.item(item) for item in page.items]
        return cpb.ListItemsResponse(items=items, next_page_token=page.next_page_token)

    async def CountItems(
        self, request: cpb.CountItemsRequest, context: Rpc
    ) -> cpb.CountItemsResponse:
        """See collections.proto."""
        count = await self._service.count_items(
            request.collection,
            filter=unpack_collections.wanted(request.filter_json),
            tenant=request.tenant,
        )
        return cpb.CountItemsResponse(count=count)

    async def ListTenants(
        self, request: cpb.ListTenantsRequest, context: Rpc
    ) -> cpb.ListTenantsResponse:
        """See collections.proto."""
        told = await self._service.list_tenants(request.collection)
        return cpb.ListTenantsResponse(tenants=pack_collections.tenants(told))

    async def DeleteItems(
        self, request: cpb.DeleteItemsRequest, context: Rpc
    ) -> cpb.DeleteItemsResponse:
        """See collections.proto."""
        written = await self._service.delete_items(
            request.collection,
            list(request.ids),
            filter=unpack_collections.wanted(request.filter_json),
            tenant=request.tenant,
        )
        return cpb.DeleteItemsResponse(count=written.count, sequence=written.sequence)

    def Search(  # type: ignore[override] # it tells, see `methods`
        self, request: cpb.SearchRequest, context: Rpc, tell: Tell
    ) -> Callable[[], Awaitable[cpb.SearchResponse]] | None:
        """See collections.proto. Quick searches by vectors are answered by the thread at hand."""
        queries = unpack.inputs(request.queries, "queries")
        words = unpack_collections.search_words(request)
        found = self._service.search_at_once(request.collection, queries, **words)
        if found is None:
            return lambda: self._searched(request, context)
        tell(pack_collections.found(found))
        return None

    async def _searched(self, request: cpb.SearchRequest, context: Rpc) -> cpb.SearchResponse:
        answer = await self._search(request, context)
        return await aside(found_bytes(answer), lambda: pack_collections.found(answer))

    async def _search(self, request: cpb.SearchRequest, context: Rpc) -> Found:
        return await self._service.search(
            request.collection,
            unpack.inputs(request.queries, "queries"),
            timeout_s=context.time_remaining(),
            **unpack_collections.search_words(request),
        )

    async def SearchStream(
        self, requests: AsyncIterator[cpb.SearchStreamRequest], context: Rpc
    ) -> AsyncIterator[cpb.SearchStreamResponse]:
        """See collections.proto."""

        async def asked() -> AsyncIterator[Asked]:
            async for request in requests:
                yield Asked(request.id, lambda search=request.search: self._search(search, context))  # type: ignore[misc] # a default binds it

        most = self._service.collection_limits.max_stream_searches
        async for answer in answer_each(asked(), most):
            yield pack_collections.answered(answer)

    async def Explain(self, request: cpb.ExplainRequest, context: Rpc) -> cpb.Explanation:
        """See collections.proto."""
        told = await self._service.explain(
            request.search.collection,
            request.id,
            unpack.inputs(request.search.queries, "queries"),
            timeout_s=context.time_remaining(),
            **unpack_collections.search_words(request.search),
        )
        return pack_collections.explanation(told)
