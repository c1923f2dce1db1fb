"""The engine on a real tritonserver: what it says, its shared memory, its deaths."""

import asyncio
import os
import re
import signal
import socket
import time
from collections import Counter
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from kokeshi.engines.protocol import Request, State
from kokeshi.engines.triton import regions, shared
from kokeshi.engines.triton.launch import HOST, Launch, free_port
from kokeshi.engines.triton.memory import Memory
from kokeshi.engines.triton.process import Process
from kokeshi.engines.triton.remote import TritonEngine
from kokeshi.errors import (
    DeadlineError,
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
)

START_TIMEOUT_S = 60
RED_WITHIN_S = 1.5  # the second, and what a busy machine adds
BACK_WITHIN_S = 30
# Sleeps for as long as its input says; 13 fails, 666 dies.
OBEDIENT = """
import os, time
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = utils.get_input_tensor_by_name(request, "x")
        asked = float(x.as_numpy().reshape(-1)[0])
        if asked == 666:
            os._exit(3)
        if asked == 13:
            return utils.InferenceResponse(error=utils.TritonError("told to fail in /srv/secret"))
        time.sleep(asked)
        return utils.InferenceResponse([utils.Tensor("y", x.as_numpy())])
"""
OBEDIENT_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching {
  default_queue_policy {
    max_queue_size: 2
    allow_timeout_override: true
    default_timeout_microseconds: 60000000  # Triton lets a request shorten this, and not 0
  }
}
"""
# y is x; the tensors of the same name are large enough to be shared
ECHO = """
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = {n: utils.get_input_tensor_by_name(request, n).as_numpy() for n in ("x", "text")}
        return utils.InferenceResponse([
            utils.Tensor("x", tensors["x"] + 1), utils.Tensor("text", tensors["text"])
        ])
"""
ECHO_CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_INT16 dims: [ 64, 64 ] }
input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "x" data_type: TYPE_INT16 dims: [ 64, 64 ] }
output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { }
"""


@dataclass
class Server:
    """A tritonserver without supervision, on a port that stays the same."""

    launch: Launch
    memory: Memory | None = None
    scratch: TemporaryDirectory | None = None
    process: Process | None = None

    @property
    def address(self):
        return f"{HOST}:{self.launch.port}"

    def start(self):
        self.memory, self.scratch = Memory(), TemporaryDirectory(prefix="kokeshi-")
        self.process = self.launch.start(self.memory, self.scratch)
        until_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until_s:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.launch.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"tritonserver did not start: {self.process.last_error()}")

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.memory.close()
            self.scratch.cleanup()
            self.process = None


@pytest.fixture(scope="module")
def repository(tiny_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    for name, code, config in (
        ("obedient", OBEDIENT, OBEDIENT_CONFIG),
        ("mortal", OBEDIENT, OBEDIENT_CONFIG),
        ("echo", ECHO, ECHO_CONFIG),
    ):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(code)
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\n{config}')
    return folder


@pytest.fixture(scope="module")
def server(tritonserver, repository):
    made = Server(Launch(tritonserver, repository, free_port(), 1, ["--load-model=*"]))
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def connect():
    running = []

    async def start(server, **options):
        engine = TritonEngine([server.address], **options)
        running.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in running:
        await engine.close()
    assert not {*regions.FOLDER.glob(f"{regions.PREFIX}{os.getpid()}_*")}


def status_of(engine, name):
    return next(it for it in engine.models() if it.name == name)


async def until(what, within_s):
    begun_s = time.monotonic()
    while not what():
        assert time.monotonic() - begun_s < within_s, "it did not come true in time"
        await asyncio.sleep(0.01)


def asks(value, rows=1, **fields):
    return Request("obedient", {"x": np.full((rows, 1), value, np.float32)}, **fields)


def echo(seed, rows=8):
    random = np.random.default_rng(seed)
    texts = [random.bytes(random.integers(0, 40)) for _ in range(rows)]
    return Request(
        "echo",
        {
            "x": random.integers(-30_000, 30_000, (rows, 64, 64), np.int16),
            "text": np.array(texts, np.object_).reshape(rows, 1),
        },
    )


def check_echo(request, answer):
    np.testing.assert_array_equal(answer["x"], request.inputs["x"] + 1)
    np.testing.assert_array_equal(answer["text"], request.inputs["text"])


async def test_a_server_tells_what_it_serves(connect, server):
    engine = await connect(server)
    assert [it.name for it in engine.models()] == ["echo", "mortal", "obedient"]
    assert {it.state for it in engine.models()} == {State.READY}
    (told,) = engine.providers()
    assert re.fullmatch(r"Triton \d+\.\d+\.\d+", told)
    assert engine.config("obedient").dynamic_batching.default_queue_policy.max_queue_size == 2
    assert 'name: "obedient"' in engine.pbtxt("obedient")


@pytest.mark.parametrize("shared_memory", [False, True])
@pytest.mark.parametrize("now", [False, True])
async def test_every_answer_is_of_its_own_request(connect, server, shared_memory, now):
    engine = await connect(server, shared_memory=shared_memory, shared_from_bytes=1)
    assert engine.path() == ("shared memory" if shared_memory else "grpc")

    async def client(number):
        for seed in range(number * 100, number * 100 + 10):
            request = echo(seed, rows=1 + seed % 8)
            if now:
                check_echo(request, await asyncio.to_thread(engine.infer_now, request))
            else:
                check_echo(request, await engine.infer(request))

    await asyncio.gather(*map(client, range(8)))
    regions_made = engine._peers[0].shared._regions.registered()
    assert len(regions_made) > 1 if shared_memory else not regions_made


async def test_abandoned_requests_spoil_no_others_memory(connect, server):
    engine = await connect(server, shared_memory=True, shared_from_bytes=1)
    await engine.infer(echo(0))

    async def leaving(seed):
        asking = asyncio.create_task(engine.infer(echo(seed)))
        await asyncio.sleep(0.001 * (seed % 5))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def staying(seed):
        request = echo(seed)
        check_echo(request, await engine.infer(request))

    for begin in range(0, 120, 12):
        wave = range(begin, begin + 12)
        await asyncio.gather(*(leaving(n) if n % 3 else staying(n) for n in wave))


async def test_what_was_given_up_is_given_back_in_time(connect, server, monkeypatch):
    monkeypatch.setattr(regions, "LOST_REST_S", 0.2)
    engine = await connect(server, shared_memory=True, shared_from_bytes=1, watch_s=0.1)
    pool = engine._peers[0].shared._regions
    late = asks(0.5, timeout_s=0.1)
    with pytest.raises(DeadlineError):
        await engine.infer(late)
    (lost,) = [region for region in pool.registered() if region not in pool._known]
    await asyncio.sleep(0.3)
    assert lost in pool.registered()  # the server still writes to it
    await until(lambda: lost not in pool.registered(), within_s=5)


async def test_a_server_that_cannot_see_our_memory_gets_tensors_over_grpc(
    connect, server, monkeypatch, caplog
):
    async def register(self, region):
        region.unlink()  # as in another container
        await real(self, region)

    real = shared.SharedMemory._register
    monkeypatch.setattr(shared.SharedMemory, "_register", register)
    engine = await connect(server, shared_memory=True, shared_from_bytes=1, watch_s=0.1)
    assert engine.path() == "grpc"
    request = echo(1)
    check_echo(request, await engine.infer(request))
    await asyncio.sleep(0.4)
    assert caplog.text.count("no shared memory with the Triton server") == 1


async def test_what_does_not_fit_into_shared_memory_goes_over_grpc(
    connect, server, monkeypatch, caplog
):
    def make(self, size):
        raise OSError(28, "No space left on device")

    engine = await connect(server, shared_memory=True, shared_from_bytes=1)
    monkeypatch.setattr(regions.Regions, "make", make)
    requests = [echo(seed) for seed in range(8)]
    for request, answer in zip(
        requests, await asyncio.gather(*map(engine.infer, requests)), strict=True
    ):
        check_echo(request, answer)
    assert caplog.text.count("no more shared memory with the Triton server") == 1
    assert engine.path() == "shared memory"


async def test_statuses_of_a_real_server_become_errors(connect, server):
    engine = await connect(server)
    with pytest.raises(InferenceError, match=r"^model 'obedient' failed to run$"):
        await engine.infer(asks(13))
    with pytest.raises(DeadlineError):
        await engine.infer(asks(0.3, timeout_s=0.05))
    with pytest.raises(DeadlineError):
        await asyncio.to_thread(engine.infer_now, asks(0.3, timeout_s=0.05))
    await asyncio.sleep(0.7)
    asking = [asyncio.create_task(engine.infer(asks(0.3))) for _ in range(6)]
    told = Counter(type(it) for it in await asyncio.gather(*asking, return_exceptions=True))
    assert set(told) == {dict, OverloadedError}
    with pytest.raises(ModelNotFoundError, match="no model named 'none'"):
        await engine.infer(Request("none", {}))
    with pytest.raises(InvalidRequestError, match="takes 1 to 4 rows"):
        await engine.infer(asks(0, rows=5))


async def test_a_request_leaves_the_queue_when_its_timeout_says_so(connect, server):
    engine = await connect(server)
    # One runs, and one full batch is at the instance's door: what comes then waits in the queue.
    before = [asyncio.create_task(engine.infer(asks(0.4, rows=4))) for _ in range(2)]
    await asyncio.sleep(0.1)
    with pytest.raises(DeadlineError):
        await engine.infer(asks(0, queue_timeout_s=0.05, priority=1))
    await asyncio.gather(*before)


async def test_statistics_count_what_ran(connect, server):
    engine = await connect(server)
    (before,) = await engine.statistics("echo")
    await asyncio.gather(*(engine.infer(echo(n, rows=2)) for n in range(5)))
    async with asyncio.timeout(5):  # Triton answers first, and counts then
        after = before
        while after.success.count < before.success.count + 5:
            (after,) = await engine.statistics("echo")
    assert after.inference_count - before.inference_count == 10
    assert after.success.count - before.success.count == 5
    assert {it.name for it in engine.counted()} == {"echo", "mortal", "obedient"}


async def test_models_are_unloaded_and_loaded_again(connect, server):
    engine = await connect(server)
    await engine.unload("mortal")
    assert status_of(engine, "mortal").state is State.ABSENT
    assert status_of(engine, "mortal").version == 0
    with pytest.raises(UnavailableError, match="model 'mortal' is absent: unloaded"):
        await engine.infer(Request("mortal", {}))
    config = f'name: "mortal"\n{OBEDIENT_CONFIG}'.replace("max_batch_size: 4", "max_batch_size: 7")
    await engine.load("mortal", config)
    assert engine.max_rows("mortal") == 7
    await engine.infer(Request("mortal", {"x": np.zeros((7, 1), np.float32)}))
    with pytest.raises(ModelNotFoundError):
        await engine.load("none")
    with pytest.raises(ModelNotFoundError):
        await engine.unload("none")


async def test_a_dead_model_is_red_while_triton_says_ready_and_the_others_answer(connect, server):
    engine = await connect(server, drain_timeout_s=1)  # Triton lets go of a dead one after 30 s
    died = Request("mortal", {"x": np.full((1, 1), 666, np.float32)})
    with pytest.raises(UnavailableError, match="the process that ran it died"):
        await engine.infer(died)
    await until(lambda: status_of(engine, "mortal").state is State.FAILED, RED_WITHIN_S)
    assert "the process that runs it died" in status_of(engine, "mortal").reason
    await engine.infer(asks(0))
    await engine.unload("mortal")
    await engine.load("mortal")
    await until(lambda: status_of(engine, "mortal").state is State.READY, BACK_WITHIN_S)
    await engine.infer(Request("mortal", {"x": np.zeros((1, 1), np.float32)}))


async def test_a_killed_server_is_red_within_a_second_and_found_again_with_its_memory(
    connect, server
):
    engine = await connect(server, shared_memory=True, shared_from_bytes=1)
    request = echo(5)
    check_echo(request, await engine.infer(request))
    os.kill(server.process.pid, signal.SIGKILL)
    await until(lambda: status_of(engine, "echo").state is State.FAILED, RED_WITHIN_S)
    with pytest.raises(UnavailableError, match="the Triton server does not answer"):
        await engine.infer(request)
    server.stop()
    await asyncio.to_thread(server.start)
    await until(lambda: status_of(engine, "echo").state is State.READY, BACK_WITHIN_S)
    for seed in range(20):
        request = echo(seed)
        check_echo(request, await engine.infer(request))
    await until(lambda: engine.path() == "shared memory", RED_WITHIN_S)


async def test_a_server_that_hangs_is_red_within_a_second(connect, server):
    engine = await connect(server)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        await until(lambda: status_of(engine, "echo").state is State.FAILED, RED_WITHIN_S)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    await until(lambda: status_of(engine, "echo").state is State.READY, BACK_WITHIN_S)
    request = echo(9)
    check_echo(request, await engine.infer(request))
