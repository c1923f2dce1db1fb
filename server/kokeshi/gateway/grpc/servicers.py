"""One method per RPC: unpack, call the service, pack. Errors are the interceptor's work."""

from collections.abc import AsyncIterator

from kokeshi.gateway.aside import aside, found_bytes, segmented_bytes
from kokeshi.gateway.grpc import pack, unpack
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.gateway.grpc.unpack import optional
from kokeshi.gateway.ingest import Batch, add_batches
from kokeshi.service import Service
from kokeshi.service.types import Encoding, MaskFormat, SearchMode
from kokeshi.v1 import collections_pb2 as cpb
from kokeshi.v1 import collections_pb2_grpc, server_pb2_grpc, vision_pb2_grpc
from kokeshi.v1 import server_pb2 as spb
from kokeshi.v1 import vision_pb2 as vpb


class VisionServicer(vision_pb2_grpc.VisionServicer):
    """See vision.proto."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Classify(self, request: vpb.ClassifyRequest, context: Rpc) -> vpb.ClassifyResponse:
        """See vision.proto."""
        answer = await self._service.classify(
            request.model,
            unpack.inputs(request.inputs),
            version=request.version,
            top_k=optional(request, "top_k"),
            threshold=optional(request, "threshold"),
            dimension=optional(request, "dimension"),
            labels=list(request.labels),
            templates=list(request.templates),
            timeout_s=context.time_remaining(),
        )
        return pack.classified(answer)

    async def Segment(self, request: vpb.SegmentRequest, context: Rpc) -> vpb.SegmentResponse:
        """See vision.proto."""
        answer = await self._service.segment(
            request.model,
            unpack.inputs(request.inputs),
            version=request.version,
            format=unpack.choice(vpb.MaskFormat, request.format, "format", MaskFormat.PNG),
            threshold=optional(request, "threshold"),
            timeout_s=context.time_remaining(),
        )
        return await aside(segmented_bytes(answer), lambda: pack.segmented(answer))

    async def Embed(self, request: vpb.EmbedRequest, context: Rpc) -> vpb.EmbedResponse:
        """See vision.proto."""
        answer = await self._service.embed(
            request.model,
            unpack.inputs(request.inputs),
            version=request.version,
            dimension=optional(request, "dimension"),
            encoding=unpack.choice(
                vpb.VectorEncoding, request.encoding, "encoding", Encoding.FLOAT32
            ),
            normalised=optional(request, "normalised"),
            timeout_s=context.time_remaining(),
        )
        return pack.embedded(answer)

    async def Compare(self, request: vpb.CompareRequest, context: Rpc) -> vpb.CompareResponse:
        """See vision.proto."""
        answer = await self._service.compare(
            request.model,
            unpack.one_input(request.left, "left"),
            unpack.one_input(request.right, "right"),
            version=request.version,
            dimension=optional(request, "dimension"),
            timeout_s=context.time_remaining(),
        )
        return pack.compared(answer)


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
        )
        return pack.collection(info)

    async def ListCollections(
        self, request: cpb.ListCollectionsRequest, context: Rpc
    ) -> cpb.ListCollectionsResponse:
        """See collections.proto."""
        infos = await self._service.list_collections()
        return cpb.ListCollectionsResponse(collections=[pack.collection(info) for info in infos])

    async def DescribeCollection(
        self, request: cpb.DescribeCollectionRequest, context: Rpc
    ) -> cpb.Collection:
        """See collections.proto."""
        return pack.collection(await self._service.describe_collection(request.name))

    async def DeleteCollection(
        self, request: cpb.DeleteCollectionRequest, context: Rpc
    ) -> cpb.DeleteCollectionResponse:
        """See collections.proto."""
        await self._service.delete_collection(request.name)
        return cpb.DeleteCollectionResponse()

    async def AddItems(self, request: cpb.AddItemsRequest, context: Rpc) -> cpb.AddItemsResponse:
        """See collections.proto."""
        batch = unpack.batch(request)
        written = await self._service.add_items(
            batch.collection,
            batch.items,
            on_conflict=batch.on_conflict,
            request_id=batch.request_id,
            space=batch.space,
            timeout_s=context.time_remaining(),
        )
        return cpb.AddItemsResponse(count=written.count, sequence=written.sequence)

    async def AddItemsStream(
        self, requests: AsyncIterator[cpb.AddItemsRequest], context: Rpc
    ) -> cpb.AddItemsResponse:
        """See collections.proto."""

        async def batches() -> AsyncIterator[Batch]:
            async for request in requests:
                yield unpack.batch(request)

        written = await add_batches(self._service, batches(), context.time_remaining)
        return cpb.AddItemsResponse(count=written.count, sequence=written.sequence)

    async def GetItems(self, request: cpb.GetItemsRequest, context: Rpc) -> cpb.GetItemsResponse:
        """See collections.proto."""
        items = await self._service.get_items(
            request.collection, list(request.ids), with_vectors=request.with_vectors
        )
        return cpb.GetItemsResponse(items=[pack.item(item) for item in items])

    async def ListItems(self, request: cpb.ListItemsRequest, context: Rpc) -> cpb.ListItemsResponse:
        """See collections.proto."""
        page = await self._service.list_items(
            request.collection,
            page_size=request.page_size,
            page_token=request.page_token,
            with_vectors=request.with_vectors,
        )
        items = [pack.item(item) for item in page.items]
        return cpb.ListItemsResponse(items=items, next_page_token=page.next_page_token)

    async def DeleteItems(
        self, request: cpb.DeleteItemsRequest, context: Rpc
    ) -> cpb.DeleteItemsResponse:
        """See collections.proto."""
        written = await self._service.delete_items(request.collection, list(request.ids))
        return cpb.DeleteItemsResponse(count=written.count, sequence=written.sequence)

    async def Search(self, request: cpb.SearchRequest, context: Rpc) -> cpb.SearchResponse:
        """See collections.proto."""
        answer = await self._service.search(
            request.collection,
            unpack.inputs(request.queries, "queries"),
            k=optional(request, "k"),
            mode=unpack.choice(cpb.SearchMode, request.mode, "mode", SearchMode.AUTO),
            dimension=optional(request, "dimension"),
            shortlist=optional(request, "shortlist"),
            with_vectors=request.with_vectors,
            model=request.model,
            space=request.space,
            timeout_s=context.time_remaining(),
        )
        return await aside(found_bytes(answer), lambda: pack.found(answer))


class ServerServicer(server_pb2_grpc.ServerServicer):
    """See server.proto."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def GetServerInfo(
        self, request: spb.GetServerInfoRequest, context: Rpc
    ) -> spb.ServerInfo:
        """See server.proto."""
        return pack.server_info(self._service.info())

    async def ListModels(
        self, request: spb.ListModelsRequest, context: Rpc
    ) -> spb.ListModelsResponse:
        """See server.proto."""
        models = [pack.model(info) for info in self._service.models()]
        return spb.ListModelsResponse(models=models)

    async def DescribeModel(self, request: spb.DescribeModelRequest, context: Rpc) -> spb.Model:
        """See server.proto."""
        info = self._service.model(request.name, request.version)
        return pack.model(info, with_card=True)
