"""Both doors on sockets: ports, signals and the way out."""

import asyncio
import gc
import signal
import sys
import time
from pathlib import Path
from statistics import median

import httpx
import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from kokeshi import metrics
from kokeshi.errors import SetupError
from kokeshi.gateway.serve import DoorOptions, doors, run, serve
from kokeshi.trace import TRACE
from kokeshi.v1 import inputs_pb2, vision_pb2, vision_pb2_grpc

FREE = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}

# A whole server whose embeddings take a second.
SERVER = """
import asyncio, sys
from pathlib import Path
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.gateway import logs
from kokeshi.gateway.serve import run, serve
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

class Slow(Service):
    async def embed(self, *args, **kwargs):
        print("embedding", flush=True)
        await asyncio.sleep(1)
        return await super().embed(*args, **kwargs)

async def main():
    engine = EmbeddedEngine(Path(sys.argv[1]), threads=1)
    service = Slow(engine, ImagePool(2), EmbeddedStore(Path(sys.argv[2])), Limits())
    await service.start()
    await serve(service, http="127.0.0.1:0", grpc="127.0.0.1:0", drain_timeout_s=5, notice_s=0.3)
    await service.close()
    print("closed", flush=True)

logs.configure("json")
run(main())
"""


async def test_clients_hand_over_no_shared_memory_where_that_is_turned_off(service):
    register = "/v2/systemsharedmemory/region/mine/register"
    region = {"key": "/no_such_region", "offset": 0, "byte_size": 8}
    for allowed, status in ((False, 501), (True, 400)):
        options = DoorOptions(client_shared_memory=allowed)
        async with (
            doors(service, **FREE, options=options) as addresses,
            httpx.AsyncClient(base_url=f"http://{addresses.http}") as client,
            aio.insecure_channel(addresses.grpc) as channel,
        ):
            assert (await client.post(register, json=region)).status_code == status
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.SystemSharedMemoryRegisterRequest(name="mine", **region)
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.SystemSharedMemoryRegister(request)
            assert (refused.value.code() is StatusCode.UNIMPLEMENTED) is not allowed


async def test_both_doors_answer_on_free_ports(service, make_picture):
    async with doors(service, **FREE) as addresses:
        assert not addresses.http.endswith(":0")
        assert not addresses.grpc.endswith(":0")
        async with httpx.AsyncClient() as client:
            response = await client.post(
                f"http://{addresses.http}/v1/models/colours/classify",
                files={"image": make_picture("red")},
            )
            assert response.json()["results"][0]["labels"][0]["name"] == "red"
            assert response.headers["x-request-id"]
        async with aio.insecure_channel(addresses.grpc) as channel:
            request = vision_pb2.EmbedRequest(model="pair", inputs=[inputs_pb2.Input(text="red")])
            answer = await vision_pb2_grpc.VisionStub(channel).Embed(request)
            assert answer.dimension == 4


async def test_an_answer_does_not_wait_for_delayed_acknowledgements(service):
    async with doors(service, **FREE) as addresses, httpx.AsyncClient() as client:
        times_s = []
        for _ in range(20):
            started_s = time.perf_counter()
            await client.get(f"http://{addresses.http}/v1/health/live")
            times_s.append(time.perf_counter() - started_s)
    assert median(times_s) < 0.03


async def test_a_client_that_hangs_up_cancels_its_request(service):
    running, cancelled = asyncio.Event(), asyncio.Event()

    class Slow(type(service)):
        async def embed(self, *args, **kwargs):
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    service.__class__ = Slow
    counter = metrics.REQUESTS.labels("http", "Embed", "CANCELLED")
    before = counter._value.get()
    async with doors(service, **FREE) as addresses:
        _, writer = await asyncio.open_connection(*addresses.http.split(":"))
        body = b'{"inputs": [{"text": "red"}]}'
        writer.write(b"POST /v1/models/pair/embed HTTP/1.1\r\nhost: kokeshi\r\n")
        writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await asyncio.wait_for(running.wait(), 5)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 5)
        await asyncio.sleep(0.05)
        assert counter._value.get() == before + 1


async def test_requests_that_share_a_connection_are_all_answered(service):
    body = {"inputs": [{"text": "red"}]}
    async with doors(service, **FREE) as addresses, httpx.AsyncClient() as client:
        for _ in range(20):
            response = await client.post(f"http://{addresses.http}/v1/models/pair/embed", json=body)
            assert response.status_code == 200


async def test_doors_that_are_cancelled_while_they_open_let_go_of_their_ports(service, caplog):
    async with doors(service, **FREE) as addresses:
        taken = {"http": addresses.http, "grpc": addresses.grpc}

    async def open_them():
        async with doors(service, **taken):
            await asyncio.Event().wait()

    for turns in range(8):
        opening = asyncio.create_task(open_them())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with doors(service, **taken) as addresses:
        assert addresses.grpc == taken["grpc"]
    gc.collect()  # of tasks whose exception nobody saw
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_body_over_the_limit_is_answered_on_a_socket(service):
    limit = service.limits.max_request_bytes
    async with doors(service, **FREE) as addresses, httpx.AsyncClient() as client:

        async def endless():
            for _ in range(2 * limit // 2**20):
                yield bytes(2**20)

        response = await client.post(
            f"http://{addresses.http}/v1/models/colours/classify",
            content=endless(),
            headers={"content-type": "image/png"},
        )
        assert response.status_code == 413


@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_a_port_that_is_taken_is_a_setup_error(service, door):
    async with doors(service, **FREE) as addresses:
        taken = getattr(addresses, door)
        with pytest.raises(SetupError, match=f"cannot listen on {door} address {taken}"):
            async with doors(service, **{**FREE, door: taken}):
                raise AssertionError("the doors opened")


@pytest.mark.parametrize(
    "address", ["8000", "localhost", "localhost:", "localhost:http", "localhost:65536", ""]
)
@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_an_address_is_host_and_port(service, door, address):
    with pytest.raises(SetupError, match="host:port"):
        async with doors(service, **{**FREE, door: address}):
            raise AssertionError("the doors opened")


async def test_workers_can_share_ports(service):
    sharing = DoorOptions(reuse_port=True)
    async with doors(service, **FREE, options=sharing) as first:
        shared = {"http": first.http, "grpc": first.grpc}
        async with doors(service, **shared, options=sharing) as second:
            assert second == first
            async with httpx.AsyncClient() as client:
                response = await client.get(f"http://{first.http}/v1/health/live")
                assert response.status_code == 200


async def test_an_idle_connection_is_kept_as_long_as_it_is_said(service):
    async with doors(service, **FREE, options=DoorOptions(keep_alive_s=1)) as addresses:
        reader, writer = await asyncio.open_connection(*addresses.http.split(":"))
        writer.write(b"GET /v1/health/live HTTP/1.1\r\nhost: kokeshi\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        started_s = time.monotonic()
        await asyncio.wait_for(reader.read(), 5)  # to the end of the connection
        assert 0.5 < time.monotonic() - started_s < 3
        writer.close()


async def test_the_trace_of_a_request_is_known_to_what_answers_it(service):
    seen = []

    class Seeing(type(service)):
        async def embed(self, *args, **kwargs):
            seen.append(dict(TRACE.get()))
            return await super().embed(*args, **kwargs)

    service.__class__ = Seeing
    parent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    async with doors(service, **FREE) as addresses, httpx.AsyncClient() as client:
        for headers in (parent, {}):
            await client.post(
                f"http://{addresses.http}/v1/models/pair/embed",
                json={"inputs": [{"text": "red"}]},
                headers=headers,
            )
    assert seen == [parent, {}]


def test_it_runs_on_uvloop():
    async def loop_name() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(loop_name()) == "uvloop"


async def test_a_signal_stops_serving_in_this_process(service):
    opened = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(service, **FREE, notice_s=0, on_open=opened.set_result))
    addresses = await opened
    signal.raise_signal(signal.SIGINT)
    assert await asyncio.wait_for(serving, 5) == addresses
    assert str(addresses) == f"http://{addresses.http}  grpc://{addresses.grpc}"


async def test_sigterm_turns_health_first_then_finishes_what_runs(
    tiny_repository, tmp_path: Path, make_picture
):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        tiny_repository,
        tmp_path / "data",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert line.startswith("listening on http://"), (await process.stderr.read()).decode()
        http, grpc_address = line.removeprefix("listening on ").split()
        async with (
            httpx.AsyncClient(base_url=http, timeout=10) as client,
            aio.insecure_channel(grpc_address.removeprefix("grpc://")) as channel,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            picture = make_picture("red")
            by_http = asyncio.create_task(
                client.post("/v1/models/colours/embed", files={"image": picture})
            )
            request = vision_pb2.EmbedRequest(
                model="colours", inputs=[inputs_pb2.Input(image=inputs_pb2.Image(data=picture))]
            )
            stub = vision_pb2_grpc.VisionStub(channel)
            by_grpc = asyncio.ensure_future(stub.Embed(request))
            for _ in range(2):
                assert await process.stdout.readline() == b"embedding\n"
            process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            # health has turned, and the doors are still open
            assert (await client.get("/v1/health/ready")).status_code == 503
            assert (await client.get("/v1/models")).status_code == 200
            assert (await by_http).json()["dimension"] == 4
            assert (await by_grpc).dimension == 4
            await asyncio.sleep(0.5)
            with pytest.raises(httpx.TransportError):
                await client.get("/v1/health/live")
        _, errors = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0, errors.decode()
        assert b'"call":"Embed"' in errors
        assert b"Traceback" not in errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
