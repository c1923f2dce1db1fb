"""The server under the gRPC door: methods that block beside methods that are coroutines."""

import asyncio
import contextlib
import gc
import threading
import time

import grpc
import pytest
from grpc import aio
from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from kokeshi import metrics
from kokeshi.errors import CancelledError, NotFoundError, OverloadedError
from kokeshi.gateway.calls import current
from kokeshi.gateway.grpc import pollers, wire
from kokeshi.gateway.grpc.health import HealthServicer
from kokeshi.gateway.grpc.server import Door
from kokeshi.gateway.readiness import Readiness
from kokeshi.trace import TRACE
from kokeshi.v1 import collections_pb2, collections_pb2_grpc

SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Methods(pb_grpc.GRPCInferenceServiceServicer):
    """ModelInfer and ModelStreamInfer block; ServerMetadata and ModelReady are coroutines."""

    def __init__(self):
        self.running = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.ended = asyncio.Event()
        self.seen = []

    def ModelInfer(self, request, context):
        self.seen.append((request.id, current().name, current().model, dict(TRACE.get())))
        match request.model_name:
            case "slow":
                self.running.release()
                assert self.may_end.wait(10)
            case "missing":
                raise NotFoundError("no model named 'missing'")
            case "full":
                raise OverloadedError("the queue is full", 0.25)
            case "broken":
                raise RuntimeError("secret")
            case "left":
                left = threading.Event()
                context.add_callback(left.set)
                self.running.release()
                assert left.wait(10)
                self.seen.append(("left", context.is_active()))
                assert not context.add_callback(lambda: self.seen.append("called at once"))
        return pb.ModelInferResponse(id=request.id)

    def ModelStreamInfer(self, request_iterator, context):
        try:
            for request in request_iterator:
                if request.model_name == "missing":
                    raise NotFoundError("no model named 'missing'")
                with context.watching() as watch:
                    watch(lambda: self.seen.append("left"))
                self.seen_callbacks = len(context._callbacks)
                infer = pb.ModelInferResponse(id=request.id)
                yield pb.ModelStreamInferResponse(infer_response=infer)
        finally:
            self.seen.append("stream ended")

    async def ModelReady(self, request, context):
        self.seen.append((current().name, dict(TRACE.get()), context.time_remaining()))
        self.running.release()
        try:
            await asyncio.to_thread(lambda: None)
            while not self.may_end.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.ended.set()
            raise
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(name=current().request_id)


@contextlib.asynccontextmanager
async def serving(service, *, threads=4, max_calls=1000, max_streams=4, grace_s=5.0, statuses=None):
    """A server with `Methods` and health; yields the methods, a stub and the address."""
    methods, readiness = Methods(), Readiness(service)
    door = Door(statuses or {}, max_calls, max_streams)
    options = [("grpc.so_reuseport", 0)]
    server = wire.Server(door, threads=threads, options=options)
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(methods, server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(readiness, ()), server)
    methods.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with aio.insecure_channel(methods.address) as channel:
            yield methods, channel, server
            methods.may_end.set()
    finally:
        methods.may_end.set()
        readiness.close()
        await server.stop(grace_s)


def kserve(channel):
    return pb_grpc.GRPCInferenceServiceStub(channel)


def infer(channel, model="", id_="", **named):
    return kserve(channel).ModelInfer(pb.ModelInferRequest(model_name=model, id=id_), **named)


async def healthy(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)).status == SERVING


async def taken(semaphore, count):
    """Returns when something was released so often."""
    for _ in range(count):
        assert await asyncio.to_thread(semaphore.acquire, timeout=10)


async def failing(call):
    with pytest.raises(AioRpcError) as caught:
        await call
    return caught.value


def counted(name, code):
    return metrics.REQUESTS.labels("grpc", name, code)._value.get()


async def test_methods_that_block_do_not_stop_health_nor_coroutines(service):
    async with serving(service, threads=3) as (methods, channel, _):
        calls = [infer(channel, "slow", str(i)) for i in range(8)]
        await taken(methods.running, 2)  # one of three threads stays free
        assert await healthy(channel)
        assert (await kserve(channel).ServerMetadata(pb.ServerMetadataRequest())).name
        assert len(methods.seen) == 2
        methods.may_end.set()
        assert [answer.id for answer in await asyncio.gather(*calls)] == [str(i) for i in range(8)]


async def test_coroutines_hold_no_threads(service):
    async with serving(service, threads=4) as (methods, channel, _):
        before = threading.active_count()
        request = pb.ModelReadyRequest()
        calls = [kserve(channel).ModelReady(request) for _ in range(500)]
        await taken(methods.running, 500)
        assert threading.active_count() < before + 40  # those of `to_thread` and the server's
        methods.may_end.set()
        assert all([(await call).ready for call in calls])


async def test_a_coroutine_ends_with_the_deadline_of_its_caller(service):
    async with serving(service) as (methods, channel, _):
        before = counted("ModelReady", "CANCELLED")
        error = await failing(kserve(channel).ModelReady(pb.ModelReadyRequest(), timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(methods.ended.wait(), 5)
        assert 0 < methods.seen[0][2] <= 0.21  # the wire rounds it up
        await asyncio.sleep(0.05)
        assert counted("ModelReady", "CANCELLED") == before + 1


async def test_a_method_that_blocks_is_told_when_its_caller_leaves(service):
    async with serving(service) as (methods, channel, _):
        call = infer(channel, "left")
        await taken(methods.running, 1)
        call.cancel()
        for _ in range(500):
            if "called at once" in methods.seen:
                break
            await asyncio.sleep(0.01)
        assert methods.seen[1:] == [("left", False), "called at once"]


class Later(pb_grpc.GRPCInferenceServiceServicer):
    """ModelInfer answers when the test says so."""

    def __init__(self):
        self.tells = {}
        self.left = []

    def ModelInfer(self, request, context, tell):
        if request.model_name == "missing":
            raise NotFoundError("no model named 'missing'")
        self.tells[request.id] = tell
        context.leaving(lambda: self.left.append(request.id))


@contextlib.asynccontextmanager
async def serving_later(*, threads=2):
    """A server with `Later`; yields it and a channel."""
    methods = Later()
    server = wire.Server(Door({}, 1000, 1), threads=threads, options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(methods, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield methods, channel, server
    finally:
        await server.stop(0.1)


async def arrived(methods, count):
    async with asyncio.timeout(10):
        while len(methods.tells) < count:
            await asyncio.sleep(0.01)


async def test_methods_that_tell_later_hold_no_thread_and_are_timed_until_they_tell(service):
    def seconds():
        return metrics.REQUEST_SECONDS.labels("grpc", "ModelInfer")._sum.get()

    def in_flight():
        return metrics.IN_FLIGHT.labels("grpc")._value.get()

    async with serving_later() as (methods, channel, _):
        calls = [infer(channel, "", str(i)) for i in range(100)]
        await arrived(methods, 100)
        assert not any(call.done() for call in calls)
        assert in_flight() == 100
        before, counted_before = seconds(), counted("ModelInfer", "OK")
        await asyncio.sleep(0.1)
        for id_, tell in reversed(methods.tells.items()):
            tell(pb.ModelInferResponse(id=id_))
        assert [answer.id for answer in await asyncio.gather(*calls)] == [
            str(i) for i in range(100)
        ]
        assert counted("ModelInfer", "OK") == counted_before + 100
        assert seconds() - before > 100 * 0.1
        assert in_flight() == 0
        assert methods.left == []


async def test_what_is_told_or_raised_is_mapped_as_for_methods_that_block(service, caplog):
    async with serving_later() as (methods, channel, _):
        error = await failing(infer(channel, "missing"))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        for answer, code in (
            (OverloadedError("full", 0.25), grpc.StatusCode.RESOURCE_EXHAUSTED),
            (RuntimeError("a secret"), grpc.StatusCode.INTERNAL),
            ("no message", grpc.StatusCode.INTERNAL),
        ):
            methods.tells.clear()
            call = asyncio.ensure_future(failing(infer(channel)))
            await arrived(methods, 1)
            await asyncio.to_thread(methods.tells[""], answer)
            assert (await call).code() is code
            assert "secret" not in (await call).details()
        assert "a secret" in caplog.text


async def test_a_method_that_tells_later_is_told_of_a_caller_who_leaves(service):
    async with serving_later() as (methods, channel, server):
        call = infer(channel, "", "a")
        await arrived(methods, 1)
        before = counted("ModelInfer", "CANCELLED")
        call.cancel()
        async with asyncio.timeout(10):
            while not methods.left:
                await asyncio.sleep(0.01)
        assert server.calls == 1
        methods.tells["a"](CancelledError("the caller has left"))
        assert server.calls == 0
        assert counted("ModelInfer", "CANCELLED") == before + 1


class Handing(Methods):
    """ModelInfer answers "" at once, and hands all else to the event loop."""

    def ModelInfer(self, request, context, tell):
        if request.model_name:
            return lambda: self.later(request)
        tell(Methods.ModelInfer(self, request, context))
        return None

    async def later(self, request):
        self.seen.append((request.id, current().name, dict(TRACE.get())))
        if request.model_name == "missing":
            raise NotFoundError("no model named 'missing'")
        self.running.release()
        try:
            while request.model_name == "waiting":
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.ended.set()
            raise
        return pb.ModelInferResponse(id=request.id)


async def test_what_a_method_hands_to_the_loop_is_answered_there_and_ends_with_its_call(service):
    methods = Handing()
    server = wire.Server(Door({}, 1000, 1), threads=2, options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(methods, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert (await infer(channel, "", "here")).id == "here"
        call = infer(channel, "handed", "mine", metadata=(("traceparent", PARENT),))
        assert (await call).id == "mine"
        assert methods.seen[-1] == ("mine", "ModelInfer", {"traceparent": PARENT})
        await taken(methods.running, 1)
        error = await failing(infer(channel, "missing"))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        before = counted("ModelInfer", "CANCELLED")
        calls = [infer(channel, "waiting") for _ in range(20)]  # hold no thread
        await taken(methods.running, 20)
        assert (await infer(channel, "", "here")).id == "here"
        for call in calls:
            call.cancel()
        await asyncio.wait_for(methods.ended.wait(), 10)
    await server.stop(5)
    assert counted("ModelInfer", "CANCELLED") == before + 20
    assert server.calls == 0


async def test_work_that_is_stuck_does_not_keep_others_in_line(service, monkeypatch):
    monkeypatch.setattr(pollers, "STUCK_S", 0.01)

    class Mixed(Methods):
        def ModelInfer(self, request, context, tell):
            tell(Methods.ModelInfer(self, request, context))

        def ModelReady(self, request, context):
            return pb.ModelReadyResponse(ready=True)

    methods = Mixed()
    server = wire.Server(Door({}, 1000, 1), threads=2, options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(methods, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stuck = infer(channel, "slow")
        await taken(methods.running, 1)
        await asyncio.sleep(0.1)
        waits = kserve(channel).ModelReady(pb.ModelReadyRequest())  # blocks, so it waits in line
        await asyncio.sleep(0.1)
        assert not waits.done()
        methods.may_end.set()
        await stuck
        assert (await asyncio.wait_for(waits, 5)).ready
    await server.stop(1)


async def test_a_call_whose_caller_left_while_it_waited_is_not_run(service):
    async with serving(service, threads=2) as (methods, channel, server):
        running = infer(channel, "slow", "first")
        await taken(methods.running, 1)
        before = counted("ModelInfer", "CANCELLED")
        waiting = infer(channel, "", "second")
        while server.calls < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.sleep(0.1)
        methods.may_end.set()
        await running
        await asyncio.sleep(0.1)
        assert [id_ for id_, *_ in methods.seen] == ["first"]
        assert counted("ModelInfer", "CANCELLED") == before + 1


async def test_errors_of_a_method_that_blocks_have_the_status_of_their_service(service, caplog):
    def status_of(error):
        return "UNAVAILABLE" if isinstance(error, OverloadedError) else error.code

    async with serving(service, statuses={SERVICE: status_of}) as (_, channel, _):
        error = await failing(infer(channel, "missing", metadata=(("x-request-id", "mine"),)))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "no model named 'missing'"
        assert dict(error.trailing_metadata())["x-request-id"] == "mine"
        error = await failing(infer(channel, "full"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata())["retry-after-ms"] == "250"
        assert not caplog.records or "secret" not in caplog.text
        error = await failing(infer(channel, "broken"))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert "RuntimeError: secret" in caplog.text
        error = await failing(
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(b"\xff\xff\xff garbage")
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        # of the stub itself
        error = await failing(kserve(channel).ModelConfig(pb.ModelConfigRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_beyond_the_most_are_refused_at_once_but_for_probes(service):
    async with serving(service, threads=2, max_calls=4) as (methods, channel, server):
        calls = [infer(channel, "slow", str(i)) for i in range(4)]
        await taken(methods.running, 1)
        while server.calls < 4:
            await asyncio.sleep(0.01)
        before = counted("ModelInfer", "RESOURCE_EXHAUSTED")
        for call in (infer(channel), kserve(channel).ServerMetadata(pb.ServerMetadataRequest())):
            error = await failing(call)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "4 calls are under way" in error.details()
            trailers = dict(error.trailing_metadata())
            assert trailers["retry-after-ms"] == "1000"
            assert trailers["x-request-id"]
        assert counted("ModelInfer", "RESOURCE_EXHAUSTED") == before + 1
        assert await healthy(channel)
        methods.may_end.set()
        await asyncio.gather(*calls)
        assert (await infer(channel, "", "again")).id == "again"


async def test_the_trace_and_the_call_are_known_to_both_kinds_of_methods(service):
    async with serving(service) as (methods, channel, _):
        methods.may_end.set()
        metadata = (("traceparent", PARENT), ("tracestate", "a=b"))
        told = dict(metadata)
        await infer(channel, "some", "one", metadata=metadata)
        await infer(channel, "some", "two")
        await kserve(channel).ModelReady(pb.ModelReadyRequest(), metadata=metadata)
        await kserve(channel).ModelReady(pb.ModelReadyRequest())
        assert methods.seen == [
            ("one", "ModelInfer", "some", told),
            ("two", "ModelInfer", "some", {}),
            ("ModelReady", told, None),
            ("ModelReady", {}, None),
        ]
        names = [await kserve(channel).ServerMetadata(pb.ServerMetadataRequest()) for _ in "ab"]
        assert len({answer.name for answer in names}) == 2  # every call has an id of its own


async def test_inferences_that_go_well_are_logged_for_debugging_alone(service, caplog):
    def logged():
        records = [each for each in caplog.records if each.name == "kokeshi.requests"]
        caplog.clear()
        return [(each.levelname, each.fields["code"]) for each in records]

    async with serving(service) as (_, channel, _):
        with caplog.at_level("INFO", "kokeshi.requests"):
            await infer(channel)
            await failing(infer(channel, "missing"))
            assert logged() == [("INFO", "NOT_FOUND")]
        with caplog.at_level("DEBUG", "kokeshi.requests"):
            await infer(channel)
            assert logged() == [("DEBUG", "OK")]


async def test_a_stream_answers_message_after_message(service):
    async with serving(service) as (_, channel, _):
        stream = kserve(channel).ModelStreamInfer()
        for name in ("a", "b"):
            await stream.write(pb.ModelInferRequest(id=name))
            assert (await stream.read()).infer_response.id == name
        await stream.done_writing()
        assert await stream.read() is aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert dict(await stream.trailing_metadata())["x-request-id"]
        error = await failing(
            anext(
                aiter(
                    kserve(channel).ModelStreamInfer([pb.ModelInferRequest(model_name="missing")])
                )
            )
        )
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_messages_of_a_stream_leave_nothing_to_be_called_at_its_end(service):
    async with serving(service) as (methods, channel, server):
        stream = kserve(channel).ModelStreamInfer()
        for _ in range(5):
            await stream.write(pb.ModelInferRequest(id="a"))
            await stream.read()
        assert methods.seen_callbacks == 0
        stream.cancel()
        while server.calls:
            await asyncio.sleep(0.01)
        assert "left" not in methods.seen


async def test_a_stream_ends_when_its_client_leaves(service):
    async with serving(service) as (methods, channel, server):
        stream = kserve(channel).ModelStreamInfer()
        await stream.write(pb.ModelInferRequest(id="a"))
        await stream.read()
        stream.cancel()
        while server.calls:
            await asyncio.sleep(0.01)
        assert methods.seen == ["stream ended"]


async def test_streams_beyond_the_most_are_refused(service):
    async with serving(service, max_streams=2) as (_, channel, server):
        streams = [kserve(channel).ModelStreamInfer() for _ in range(2)]
        for stream in streams:
            await stream.write(pb.ModelInferRequest(id="a"))
            await stream.read()
        error = await failing(anext(aiter(kserve(channel).ModelStreamInfer([]))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 streams are open" in error.details()
        streams[0].cancel()
        while server.calls > 1:
            await asyncio.sleep(0.01)
        stream = kserve(channel).ModelStreamInfer()
        await stream.write(pb.ModelInferRequest(id="b"))
        assert (await stream.read()).infer_response.id == "b"
        for each in (stream, streams[1]):
            each.cancel()


async def test_a_call_without_its_message_is_no_call_of_the_method(service):
    async with serving(service) as (_, channel, _):
        for method in ("ModelInfer", "ModelReady"):
            call = channel.stream_unary(f"/{SERVICE}/{method}")
            assert (await failing(call(iter(())))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_messages_of_a_stream_are_taken_no_faster_than_the_method_wants_them(both):
    class Reading(collections_pb2_grpc.CollectionsServicer):
        wanted = 0

        async def AddItemsStream(self, requests, context):
            async for _ in requests:
                Reading.wanted += 1
                assert Reading.read <= Reading.wanted
                await asyncio.sleep(0.001)
            return collections_pb2.AddItemsResponse(count=Reading.wanted)

    Reading.read = 0
    handlers = []
    collections_pb2_grpc.add_CollectionsServicer_to_server(Reading(), _Registered(handlers))
    server = wire.Server(Door({}, 10, 1), threads=2, options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([_Counting(handlers[0], Reading)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = collections_pb2_grpc.CollectionsStub(channel)
            answer = await stub.AddItemsStream([collections_pb2.AddItemsRequest()] * 50)
            assert answer.count == 50
    finally:
        await server.stop(1)


class _Registered:
    def __init__(self, handlers):
        self.add_generic_rpc_handlers = handlers.extend

    def add_registered_method_handlers(self, service, handlers):
        pass


class _Counting(grpc.GenericRpcHandler):
    """Counts what is read in `Reading.read`."""

    def __init__(self, handler, reading):
        self._handler = handler
        self._reading = reading

    def service(self, details):
        found = self._handler.service(details)

        def read(data):
            self._reading.read += 1
            return found.request_deserializer(data)

        return found._replace(request_deserializer=read)


async def test_a_stop_waits_for_what_runs_and_takes_nothing_new(service):
    async with serving(service) as (methods, channel, server):
        call = infer(channel, "slow", "a")
        await taken(methods.running, 1)
        stopping = asyncio.create_task(server.stop(10))
        await asyncio.sleep(0.05)
        assert (await failing(infer(channel, timeout=2))).code() is grpc.StatusCode.UNAVAILABLE
        assert not stopping.done()
        methods.may_end.set()
        assert (await call).id == "a"
        await asyncio.wait_for(stopping, 5)


async def test_a_stop_cancels_what_outlasts_its_grace(service):
    async with serving(service) as (methods, channel, server):
        before = {thread.name for thread in threading.enumerate()}
        call = kserve(channel).ModelReady(pb.ModelReadyRequest())
        await taken(methods.running, 1)
        started_s = time.monotonic()
        await server.stop(0.1)
        assert time.monotonic() - started_s < 3
        assert (await failing(call)).code() is grpc.StatusCode.UNAVAILABLE
        assert methods.ended.is_set()
        assert any(name.startswith("kokeshi-grpc") for name in before)
        left = {thread.name for thread in threading.enumerate()}
        assert not [name for name in left if name.startswith("kokeshi-grpc")]


async def test_a_stop_leaves_a_method_that_does_not_end(service, monkeypatch, caplog):
    monkeypatch.setattr(wire, "LEAVE_S", 0.1)
    async with serving(service) as (methods, channel, server):
        call = infer(channel, "slow")
        await taken(methods.running, 1)
        await asyncio.wait_for(server.stop(0.1), 5)
        assert "1 calls of gRPC do not end" in caplog.text
        await failing(call)
        methods.may_end.set()
        for thread in threading.enumerate():
            if thread.name.startswith("kokeshi-grpc"):
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive()


async def test_calls_leave_nothing_behind(service):
    async with serving(service, threads=8) as (_, channel, server):
        for _ in range(3):
            await asyncio.gather(*(infer(channel) for _ in range(50)))
        while server.calls:
            await asyncio.sleep(0.01)
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each).__name__ == "Rpc"]


async def test_paths_that_are_no_text_take_no_place_for_ever(service):
    """gRPC asks for so many calls at once; each has to be given back."""
    async with serving(service) as (_, channel, _):
        for _ in range(wire.ASKED_CALLS + 1):
            odd = channel.unary_unary(b"/a/\xff")
            error = await failing(odd(b"", timeout=5))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await kserve(channel).ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
