"""What is gRPC's alone: health, reflection, deadlines, sizes, streams."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from grpc import aio
from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from kokeshi.engines.protocol import State
from kokeshi.gateway.grpc.server import SERVICES
from kokeshi.v1 import collections_pb2, inputs_pb2, vision_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health(both) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(both.channel)


def image(data: bytes) -> inputs_pb2.Input:
    return inputs_pb2.Input(image=inputs_pb2.Image(data=data))


def asking(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("name", ["", *SERVICES, "inference.GRPCInferenceService"])
async def test_every_service_serves(health, name):
    assert (await health.Check(asking(name))).status == SERVING


async def test_an_unknown_service_is_not_found(health):
    with pytest.raises(AioRpcError) as caught:
        await health.Check(asking("kokeshi.v1.Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(asking("kokeshi.v1.Nothing"))
    assert (await watch.read()).status == UNKNOWN


async def test_a_watch_follows_the_models_and_ends_when_the_doors_close(both, health):
    class Loading(type(both.service)):
        def models(self):
            first, *rest = super().models()
            return [replace(first, state=State.LOADING), *rest]

        def ready(self):
            return all(model.state is State.READY for model in self.models())

    loaded = type(both.service)
    both.service.__class__ = Loading
    watch = health.Watch(asking("kokeshi.v1.Vision"))
    assert (await watch.read()).status == NOT_SERVING
    assert (await health.Check(asking(""))).status == NOT_SERVING
    response = await both.http.get("/v1/health/ready")
    assert response.status_code == 503
    assert "'colours' is loading" in response.json()["error"]["message"]
    assert (await both.http.get("/v1/health/live")).json() == {"status": "live"}
    both.service.__class__ = loaded
    assert (await watch.read()).status == SERVING
    assert (await both.http.get("/v1/health/ready")).json() == {"status": "ready"}
    both.readiness.drain()
    assert (await watch.read()).status == NOT_SERVING
    response = await both.http.get("/v1/health/ready")
    assert response.json()["error"]["message"] == "the server is shutting down"
    both.readiness.close()
    assert await watch.read() is grpc.aio.EOF


async def test_reflection_tells_services_and_messages(both):
    # the library's client of reflection blocks
    def names() -> tuple[set[str], str]:
        with grpc.insecure_channel(both.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol("kokeshi.v1.ClassifyRequest")
            return set(database.get_services()), file.name

    services, file = await asyncio.to_thread(names)
    assert set(SERVICES) | {"grpc.health.v1.Health", "inference.GRPCInferenceService"} <= services
    assert file == "kokeshi/v1/vision.proto"


@pytest.mark.parametrize(
    "method", ["/kokeshi.v1.Vision/Classify", "/kokeshi.v1.Collections/AddItems"]
)
async def test_bytes_that_are_no_message_are_a_bad_request(both, method):
    with pytest.raises(AioRpcError) as caught:
        await both.channel.unary_unary(method)(b"\xff\xff\xff garbage")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a message" in caught.value.details()


async def test_an_unknown_method_is_unimplemented(both):
    with pytest.raises(AioRpcError) as caught:
        await both.channel.unary_unary("/kokeshi.v1.Vision/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_limit_is_refused(both):
    limit = both.service.limits.max_request_bytes
    request = vision_pb2.EmbedRequest(model="colours", inputs=[image(bytes(limit))])
    with pytest.raises(AioRpcError) as caught:
        await both.vision.Embed(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_deadline_of_the_client_reaches_the_service(both):
    seen = []

    class Spy(type(both.service)):
        async def embed(self, *args, timeout_s, **kwargs):
            seen.append(timeout_s)
            return await super().embed(*args, timeout_s=timeout_s, **kwargs)

    both.service.__class__ = Spy
    request = vision_pb2.EmbedRequest(model="pair", inputs=[inputs_pb2.Input(text="red")])
    await both.vision.Embed(request, timeout=5)
    await both.vision.Embed(request)
    assert seen[0] == pytest.approx(5, abs=1)  # the two clocks differ by milliseconds
    assert seen[1] is None


async def test_a_client_that_leaves_cancels_the_handler(both):
    running, cancelled = asyncio.Event(), asyncio.Event()

    class Slow(type(both.service)):
        async def embed(self, *args, **kwargs):
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    both.service.__class__ = Slow
    call = both.vision.Embed(vision_pb2.EmbedRequest(model="colours"))
    await running.wait()
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_client_may_ping_as_often_as_it_likes(both):
    # a second is the least that the client's own core allows; the third ping used to be the last
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with aio.insecure_channel(both.address, options=options) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(asking(""))
        await asyncio.sleep(3.5)
        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_the_request_id_comes_back_where_it_is_sane(both):
    request = vision_pb2.EmbedRequest(model="pair", inputs=[inputs_pb2.Input(text="red")])
    for offered, kept in (("my-id.7", True), ("no spaces", False), ("x" * 200, False)):
        call = both.vision.Embed(request, metadata=(("x-request-id", offered),))
        await call
        returned = dict(await call.trailing_metadata())["x-request-id"]
        assert (returned == offered) is kept
        assert returned


def adding(collection: str, *ids: str, data: bytes) -> collections_pb2.AddItemsRequest:
    items = [collections_pb2.NewItem(id=id_, input=image(data)) for id_ in ids]
    return collections_pb2.AddItemsRequest(collection=collection, items=items)


async def test_a_stream_stores_message_after_message(both, make_picture):
    await both.service.create_collection("things", "colours")
    data = make_picture("red")

    async def messages() -> AsyncIterator[collections_pb2.AddItemsRequest]:
        yield adding("things", "a", "b", data=data)
        yield adding("things", "c", data=data)

    answer = await both.collections.AddItemsStream(messages())
    assert answer.count == 3
    assert answer.sequence == (await both.service.describe_collection("things")).sequence


async def test_a_failing_stream_says_how_many_items_are_stored(both, make_picture):
    await both.service.create_collection("things", "colours")
    data = make_picture("red")
    bad = (
        (adding("things", "a", data=data), grpc.StatusCode.ALREADY_EXISTS),
        (adding("things", "x", data=b"no image"), grpc.StatusCode.INVALID_ARGUMENT),
        (adding("nothing", "x", data=data), grpc.StatusCode.NOT_FOUND),
    )
    for last, code in bad:
        requests = [adding("things", "a", "b", data=data), adding("things", "c", data=data), last]
        with pytest.raises(AioRpcError) as caught:
            await both.collections.AddItemsStream(requests)
        assert caught.value.code() is code
        assert caught.value.details().startswith("after 3 stored items: ")
        assert (await both.service.describe_collection("things")).count == 3
        await both.service.delete_items("things", ["a", "b", "c"])


async def test_an_empty_stream_is_a_bad_request(both):
    with pytest.raises(AioRpcError) as caught:
        await both.collections.AddItemsStream([])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
