"""One method per RPC: unpack, call the service, pack. Errors are the interceptor's work."""

from kokeshi.gateway.aside import aside, segmented_bytes
from kokeshi.gateway.grpc import pack, unpack
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.gateway.grpc.unpack import optional
from kokeshi.service import Service
from kokeshi.service.types import Encoding, MaskFormat
from kokeshi.v1 import server_pb2 as spb
from kokeshi.v1 import server_pb2_grpc, vision_pb2_grpc
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
