"""The server behind the gRPC door."""

from collections.abc import Sequence
from typing import Final

from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kokeshi.gateway.grpc.health import HealthServicer
from kokeshi.gateway.grpc.interceptor import CallInterceptor
from kokeshi.gateway.grpc.servicers import CollectionsServicer, ServerServicer, VisionServicer
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import Service
from kokeshi.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)

SERVICES: Final[Sequence[str]] = tuple(
    service.full_name
    for file in (vision_pb2, collections_pb2, server_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)


def make_grpc_server(service: Service, readiness: Readiness) -> aio.Server:
    """A server with all of Kokeshi's services; the caller adds a port and starts it."""
    server = aio.server(
        interceptors=[CallInterceptor()],
        options=[
            ("grpc.max_receive_message_length", service.limits.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server would take the port in silence
        ],
    )
    vision_pb2_grpc.add_VisionServicer_to_server(VisionServicer(service), server)
    collections_pb2_grpc.add_CollectionsServicer_to_server(CollectionsServicer(service), server)
    server_pb2_grpc.add_ServerServicer_to_server(ServerServicer(service), server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, SERVICES), server)
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server
