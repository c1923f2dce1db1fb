"""One method per RPC of retrieval.proto: unpack, call the service, pack."""

from kokeshi.gateway.grpc import retrieval_pack as pack
from kokeshi.gateway.grpc import retrieval_unpack as unpack
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.service import Service
from kokeshi.v1 import retrieval_pb2 as rpb
from kokeshi.v1 import retrieval_pb2_grpc


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServicer):
    """See retrieval.proto."""

    def __init__(self, service: Service) -> None:
        self._retrieval = service.retrieval

    async def ListRetrievers(
        self, request: rpb.ListRetrieversRequest, context: Rpc
    ) -> rpb.ListRetrieversResponse:
        """See retrieval.proto."""
        return pack.plugins(self._retrieval.plugins())

    async def FitRetriever(
        self, request: rpb.FitRetrieverRequest, context: Rpc
    ) -> rpb.FittedRetriever:
        """See retrieval.proto."""
        fitted = await self._retrieval.fit(
            request.collection,
            request.retriever,
            unpack.fit_options(request),
            timeout_s=context.time_remaining(),
        )
        return pack.fitted(fitted)

    async def ListFitted(
        self, request: rpb.ListFittedRequest, context: Rpc
    ) -> rpb.ListFittedResponse:
        """See retrieval.proto."""
        known = await self._retrieval.fitted(request.collection, tenant=request.tenant)
        return rpb.ListFittedResponse(fitted=[pack.fitted(each) for each in known])

    async def DeleteFitted(
        self, request: rpb.DeleteFittedRequest, context: Rpc
    ) -> rpb.DeleteFittedResponse:
        """See retrieval.proto."""
        await self._retrieval.delete_fitted(request.collection, request.name, tenant=request.tenant)
        return rpb.DeleteFittedResponse()

    async def AskRetriever(
        self, request: rpb.AskRetrieverRequest, context: Rpc
    ) -> rpb.AskRetrieverResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.ask(
            request.collection, unpack.question(request), timeout_s=context.time_remaining()
        )
        return pack.answered(answer)

    async def Verify(self, request: rpb.VerifyRequest, context: Rpc) -> rpb.VerifyResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.verify(
            request.question.collection,
            unpack.question(request.question),
            unpack.reference(request),
            timeout_s=context.time_remaining(),
        )
        return pack.verified(answer)

    async def Locate(self, request: rpb.AskRetrieverRequest, context: Rpc) -> rpb.LocateResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.locate(
            request.collection, unpack.question(request), timeout_s=context.time_remaining()
        )
        return pack.typed(answer, rpb.LocateResponse)

    async def Vote(self, request: rpb.AskRetrieverRequest, context: Rpc) -> rpb.VoteResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.vote(
            request.collection, unpack.question(request), timeout_s=context.time_remaining()
        )
        return pack.typed(answer, rpb.VoteResponse)

    async def Recognise(
        self, request: rpb.AskRetrieverRequest, context: Rpc
    ) -> rpb.RecogniseResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.recognise(
            request.collection, unpack.question(request), timeout_s=context.time_remaining()
        )
        return pack.typed(answer, rpb.RecogniseResponse)

    async def Associate(
        self, request: rpb.AskRetrieverRequest, context: Rpc
    ) -> rpb.AssociateResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.associate(
            request.collection, unpack.question(request), timeout_s=context.time_remaining()
        )
        return pack.typed(answer, rpb.AssociateResponse)

    async def Diagnose(self, request: rpb.DiagnoseRequest, context: Rpc) -> rpb.DiagnoseResponse:
        """See retrieval.proto."""
        answer = await self._retrieval.diagnose(
            request.collection,
            unpack.diagnose_options(request),
            timeout_s=context.time_remaining(),
        )
        return pack.diagnosed(answer)

    async def FitMap(self, request: rpb.FitMapRequest, context: Rpc) -> rpb.SpaceMap:
        """See retrieval.proto."""
        info = await self._retrieval.fit_map(
            request.collection, unpack.map_options(request), timeout_s=context.time_remaining()
        )
        return pack.space_map(info)

    async def StartMigration(
        self, request: rpb.StartMigrationRequest, context: Rpc
    ) -> rpb.Transfer:
        """See retrieval.proto."""
        transfer = await self._retrieval.start_migration(
            request.source, request.target, tenant=request.tenant
        )
        return pack.transfer(transfer)

    async def DescribeTransfer(
        self, request: rpb.DescribeTransferRequest, context: Rpc
    ) -> rpb.Transfer:
        """See retrieval.proto."""
        return pack.transfer(
            await self._retrieval.describe_transfer(request.target, tenant=request.tenant)
        )

    async def FinishMigration(
        self, request: rpb.FinishMigrationRequest, context: Rpc
    ) -> rpb.Transfer:
        """See retrieval.proto."""
        transfer = await self._retrieval.finish_migration(
            request.target,
            request.alias,
            tenant=request.tenant,
            least_native_share=request.least_native_share,
        )
        return pack.transfer(transfer)

    async def RotateCollection(
        self, request: rpb.RotateCollectionRequest, context: Rpc
    ) -> rpb.RotateCollectionResponse:
        """See retrieval.proto."""
        rotated = await self._retrieval.rotate(
            request.collection, unpack.rotate_options(request), timeout_s=context.time_remaining()
        )
        return rpb.RotateCollectionResponse(
            space=rotated.space, energy=rotated.energy, transfer=pack.transfer(rotated.transfer)
        )
