"""KServe v2 over gRPC: `inference.GRPCInferenceService`, as Triton answers it.

Of the two calls that carry tensors, ModelInfer may run the graph on the thread it is called on, and
holds none while it waits where the engine answers soon; ModelStreamInfer blocks threads of its own.
The others are coroutines on
the event loop. The messages are tritonclient's own.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer

from kokeshi.errors import NotFoundError, UnimplementedError
from kokeshi.gateway.calls import INTERNAL_MESSAGE, for_client, message_of
from kokeshi.gateway.grpc.kserve_messages import (
    call_of,
    parameters_of,
    repository_parameters,
    response_of,
)
from kokeshi.gateway.grpc.kserve_stream import pipelined
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.gateway.kserve import (
    InferAnswer,
    infer_now,
    infer_soon,
    metadata,
    regions_of,
    repository,
)
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import Service

logger = logging.getLogger(__name__)

SERVICE: Final = "inference.GRPCInferenceService"
_FINAL_RESPONSE: Final = "triton_final_response"
_NO_CUDA: Final = "cuda shared memory is not supported: use system shared memory"


class KServeServicer(GRPCInferenceServiceServicer):
    """See grpc_service.proto of triton-inference-server/common.

    Args:
        service: what answers.
        readiness: whether requests should come here.
    """

    def __init__(self, service: Service, readiness: Readiness) -> None:
        self._service = service
        self._readiness = readiness
        self._regions = regions_of(service)
        # of the two ways, the one that does not block a thread of the door for what another does
        answers_soon = service.tensors.answers_soon
        self.ModelInfer: Callable[..., object] = self._infer if answers_soon else self._answer

    def _infer(
        self,
        request: pb.ModelInferRequest,
        context: Rpc,
        tell: Callable[[pb.ModelInferResponse | Exception], None],
    ) -> None:
        """Runs a model on tensors; tells the answer on this thread or another."""

        def answered(answer: InferAnswer | Exception) -> None:
            try:
                told = answer if isinstance(answer, Exception) else self._response(answer)
            except Exception as error:
                told = error
            tell(told)

        infer_soon(
            self._service,
            call_of(request, self._regions),
            answered,
            context.time_remaining(),
            context.leaving,
        )

    def ModelStreamInfer(
        self, request_iterator: Iterator[pb.ModelInferRequest], context: Rpc
    ) -> Iterator[pb.ModelStreamInferResponse]:
        """Runs a model on each request of a stream; one that fails does not end it."""

        def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            return self._streamed(request, context)

        return pipelined(request_iterator, answer)

    def _answer(self, request: pb.ModelInferRequest, context: Rpc) -> pb.ModelInferResponse:
        with context.watching() as watch:
            call = call_of(request, self._regions)
            answer = infer_now(self._service, call, context.time_remaining(), watch)
        return self._response(answer)

    def _response(self, answer: InferAnswer) -> pb.ModelInferResponse:
        return response_of(answer, self._regions)

    def _streamed(self, request: pb.ModelInferRequest, context: Rpc) -> pb.ModelStreamInferResponse:
        try:
            response = self._answer(request, context)
            if parameters_of(request).empty_final_response:
                response.parameters[_FINAL_RESPONSE].bool_param = True
        except Exception as error:  # the stream goes on, so no status tells of it
            if for_client(error):
                message = message_of(error)
            else:
                logger.exception("a request of a stream failed")
                message = INTERNAL_MESSAGE
            return pb.ModelStreamInferResponse(
                error_message=message, infer_response=pb.ModelInferResponse(id=request.id)
            )
        return pb.ModelStreamInferResponse(infer_response=response)

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Rpc
    ) -> pb.ServerLiveResponse:
        """Whether the server answers at all."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Rpc
    ) -> pb.ServerReadyResponse:
        """Whether requests will be answered."""
        return pb.ServerReadyResponse(ready=self._readiness.ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Rpc
    ) -> pb.ModelReadyResponse:
        """Whether a model answers."""
        ready = metadata.model_ready(self._service, request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Rpc
    ) -> pb.ServerMetadataResponse:
        """What this server is."""
        return pb.ServerMetadataResponse(**metadata.server_metadata())

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Rpc
    ) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        found = metadata.model_metadata(self._service, request.name, request.version)
        return pb.ModelMetadataResponse(**found)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Rpc
    ) -> pb.ModelConfigResponse:
        """A model's whole configuration."""
        config = repository.config_message(self._service, request.name, request.version)
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Rpc
    ) -> pb.ModelStatisticsResponse:
        """What happened to the requests so far."""
        found = await metadata.statistics(self._service, request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=found)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Rpc
    ) -> pb.RepositoryIndexResponse:
        """Every model with its state."""
        found = metadata.repository_index(self._service, request.ready, request.repository_name)
        return pb.RepositoryIndexResponse(models=found)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Rpc
    ) -> pb.RepositoryModelLoadResponse:
        """Loads a model, or loads it again."""
        parameters = repository_parameters(request.parameters)
        await repository.load(
            self._service, request.model_name, parameters, request.repository_name
        )
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Rpc
    ) -> pb.RepositoryModelUnloadResponse:
        """Stops serving a model."""
        parameters = repository_parameters(request.parameters)
        await repository.unload(
            self._service, request.model_name, parameters, request.repository_name
        )
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Rpc
    ) -> pb.SystemSharedMemoryStatusResponse:
        """The regions that are registered."""
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._regions.status(request.name):
            told = response.regions[region.name]
            told.name, told.key = region.name, region.key
            told.offset, told.byte_size = region.offset, region.byte_size
        return response

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Rpc
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Maps a region that the client made."""
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Rpc
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forgets a region, or all of them."""
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Rpc
    ) -> pb.CudaSharedMemoryStatusResponse:
        """There are no such regions."""
        if request.name:
            raise NotFoundError(f"unable to find cuda shared memory region: {request.name!r}")
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Rpc
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Not supported."""
        raise UnimplementedError(_NO_CUDA)

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Rpc
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Nothing to forget: clients ask for it to begin with a clean slate."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, context: Rpc
    ) -> pb.TraceSettingResponse:
        """Not supported: trace context travels with each request."""
        raise UnimplementedError("trace settings are not supported: send 'traceparent' metadata")

    async def LogSettings(
        self, request: pb.LogSettingsRequest, context: Rpc
    ) -> pb.LogSettingsResponse:
        """Not supported: logging is set at the start."""
        raise UnimplementedError("log settings are not supported: they are set at the start")
