"""The server behind the gRPC door."""

from collections.abc import Mapping, Sequence
from typing import Final

from grpc import RpcMethodHandler
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tritonclient.grpc.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from kokeshi import metrics
from kokeshi.errors import OverloadedError
from kokeshi.gateway.calls import PROBES, UNKNOWN
from kokeshi.gateway.grpc import kserve, methods
from kokeshi.gateway.grpc.collections import CollectionsServicer
from kokeshi.gateway.grpc.health import HealthServicer
from kokeshi.gateway.grpc.interceptor import StatusOf, method_of
from kokeshi.gateway.grpc.retrieval import RetrievalServicer
from kokeshi.gateway.grpc.rpc import Reply, Rpc
from kokeshi.gateway.grpc.servicers import ServerServicer, VisionServicer
from kokeshi.gateway.grpc.streams import MAX_STREAMS, Streams
from kokeshi.gateway.grpc.wire import Server, Start
from kokeshi.gateway.kserve.errors import grpc_code
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import Service
from kokeshi.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)

SERVICES: Final[Sequence[str]] = tuple(
    service.full_name
    for file in (vision_pb2, collections_pb2, retrieval_pb2, server_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
# At most. Two take events; more come for methods that block, and for work that is stuck.
THREADS: Final = 64
# Calls that run or wait, of all methods but probes: each may hold a message of the greatest size.
MAX_CALLS: Final = 1024
# Pings of clients: any number is fine, with or without calls. gRPC's default ends the connection of
# a client that pings more than once in five minutes.
MAX_PING_STRIKES: Final = 0


# Told to clients with what was refused: calls take milliseconds to seconds.
RETRY_AFTER_S: Final = 1.0
# Answered however many calls are under way: who watches over the server must not take it for dead.
UNBOUNDED: Final = PROBES | {"Watch"}


class Door:
    """Starts each call by the kind of its method. See `wire.Door`."""

    def __init__(self, statuses: Mapping[str, StatusOf], max_calls: int, max_streams: int) -> None:
        self._statuses = statuses
        self._max_calls = max_calls
        self._streams = Streams(max_streams)

    def starting(self, path: str, handler: RpcMethodHandler, server: Server) -> Start:
        """See `wire.Door`."""
        method = method_of(path, handler, self._statuses)
        start = methods.starting(method, handler, server, self._streams)
        if method.name in UNBOUNDED:
            return start

        def bounded(rpc: Rpc) -> None:
            if server.calls <= self._max_calls:
                start(rpc)
                return
            told = f"{self._max_calls} calls are under way, and no more may be"
            method.refuse(rpc, OverloadedError(told, RETRY_AFTER_S))

        return bounded

    def unknown(self, rpc: Rpc) -> None:
        """See `wire.Door`."""
        metrics.REQUESTS.labels("grpc", UNKNOWN, "UNIMPLEMENTED").inc()
        rpc.finish(Reply(code="UNIMPLEMENTED", details="no such method"))


def make_grpc_server(
    service: Service,
    readiness: Readiness,
    *,
    threads: int = THREADS,
    max_calls: int = MAX_CALLS,
    max_streams: int = MAX_STREAMS,
    reuse_port: bool = False,
) -> Server:
    """A server with all services; the caller adds a port and starts it on the event loop.

    Args:
        service: what answers.
        readiness: of both doors.
        threads: at most, for methods that block; one of them is kept for everything else.
        max_calls: under way at once; what comes beyond is refused, but for probes.
        max_streams: of KServe, at once.
        reuse_port: whether other processes may listen on the port too.
    """
    door = Door({kserve.SERVICE: grpc_code}, max_calls, max_streams)
    options = (
        ("grpc.max_receive_message_length", service.limits.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(reuse_port)),  # else a second server takes the port in silence
        ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
        ("grpc.keepalive_permit_without_calls", 1),
    )
    server = Server(door, threads=threads, options=options)
    vision_pb2_grpc.add_VisionServicer_to_server(VisionServicer(service), server)
    collections_pb2_grpc.add_CollectionsServicer_to_server(CollectionsServicer(service), server)
    retrieval_pb2_grpc.add_RetrievalServicer_to_server(RetrievalServicer(service), server)
    server_pb2_grpc.add_ServerServicer_to_server(ServerServicer(service), server)
    add_GRPCInferenceServiceServicer_to_server(kserve.KServeServicer(service, readiness), server)
    served = (*SERVICES, kserve.SERVICE)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, served), server)
    names = (*served, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
        reflection.aio.ReflectionServicer(names), server
    )
    return server
