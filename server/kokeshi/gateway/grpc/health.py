"""grpc.health.v1 over the readiness that both doors share."""

from collections.abc import AsyncIterator, Collection
from typing import Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

from kokeshi.errors import NotFoundError
from kokeshi.gateway.grpc.rpc import Rpc
from kokeshi.gateway.readiness import Readiness

# How late a watcher may learn that a model became ready; draining is told at once.
POLL_S: Final = 0.25


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers for the server ("") and each of its services by full name.

    Args:
        readiness: of the server; its services are ready together.
        services: full names.
    """

    def __init__(self, readiness: Readiness, services: Collection[str]) -> None:
        self._readiness = readiness
        self._services = frozenset(services) | {""}

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Rpc
    ) -> health_pb2.HealthCheckResponse:
        """The state now.

        Raises:
            NotFoundError: no service of this name.
        """
        if request.service not in self._services:
            raise NotFoundError(f"no service named {request.service!r}")
        return health_pb2.HealthCheckResponse(status=self._status())

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Rpc
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state now and after each change, until the doors close.

        An unknown name is SERVICE_UNKNOWN and keeps its stream, as the protocol has it.
        """
        told = None
        while True:
            # read before the state: who starts to drain during a `yield` is told in the next round
            draining = self._readiness.draining
            known = request.service in self._services
            status = self._status() if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            if draining:
                # an open watch would hold up the shutdown, but the end of a stream can overtake its
                # last message in grpc's own client
                await self._readiness.closing()
                return
            await self._readiness.wait(POLL_S)

    def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus:
        if self._readiness.ready:
            return health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse.NOT_SERVING
