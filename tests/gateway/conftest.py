"""Both doors on the tiny models."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from grpc import aio

from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import Service
from kokeshi.v1 import collections_pb2_grpc, retrieval_pb2_grpc, server_pb2_grpc, vision_pb2_grpc


@dataclass
class Both:
    """A client of each door, in front of one service."""

    service: Service
    readiness: Readiness
    http: httpx.AsyncClient
    channel: aio.Channel
    address: str  # of gRPC

    @property
    def vision(self):
        return vision_pb2_grpc.VisionStub(self.channel)

    @property
    def collections(self):
        return collections_pb2_grpc.CollectionsStub(self.channel)

    @property
    def retrieval(self):
        return retrieval_pb2_grpc.RetrievalStub(self.channel)

    @property
    def server(self):
        return server_pb2_grpc.ServerStub(self.channel)


@pytest.fixture
async def both(service: Service) -> AsyncIterator[Both]:
    """Both doors: HTTP without a socket, gRPC on a free port."""
    readiness = Readiness(service)
    server = make_grpc_server(service, readiness)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = httpx.ASGITransport(make_app(service, readiness))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://kokeshi") as http,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Both(service, readiness, http, channel, f"127.0.0.1:{port}")
    readiness.drain()
    readiness.close()  # else a watch that a test left open would hold up the stop
    await server.stop(5)
