"""A model that runs for seconds, and those who wait for it, are in nobody else's way."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from grpc import aio
from grpc.aio import AioRpcError
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.statistics import Failure
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.grpc.pollers import KEPT
from kokeshi.gateway.readiness import Readiness
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

LONG = 4_000_000  # rounds: seconds
WAITING = 200
CONFIG = """
backend: "onnxruntime"
max_batch_size: 0
input { name: "rounds" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "done" data_type: TYPE_INT64 dims: [ 1 ] }
"""


def counter() -> bytes:
    """A graph that counts to `rounds`, one by one."""
    scalar = (TensorProto.INT64, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", *scalar),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.INT64, [1]),
        ],
    )
    constants = {"one": np.array([1]), "none": np.array([0]), "true": np.array(True)}
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["rounds"], ["times"]),
            helper.make_node("Loop", ["times", "true", "none"], ["done"], body=body),
        ],
        "counter",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("done", TensorProto.INT64, [1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Three models that count."""
    graph = counter()
    for name in ("one", "two", "free"):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        (tmp_path / "models" / name / "1" / "model.onnx").write_bytes(graph)
        (tmp_path / "models" / name / "config.pbtxt").write_text(CONFIG)
    engine = EmbeddedEngine(tmp_path / "models", threads=1)
    made = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "data"), Limits())
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def address(service: Service) -> AsyncIterator[str]:
    """The gRPC door, with four threads."""
    readiness = Readiness(service)
    server = make_grpc_server(service, readiness, threads=4)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    readiness.close()
    await server.stop(10)


def channel_to(address: str) -> aio.Channel:
    """A connection of its own."""
    return aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def infer(channel: aio.Channel, model: str, rounds: int = 1) -> aio.UnaryUnaryCall:
    given = {"name": "rounds", "datatype": "INT64", "shape": [1]}
    request = pb.ModelInferRequest(
        model_name=model, inputs=[given], raw_input_contents=[np.array([rounds]).tobytes()]
    )
    return pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)


async def counted(channel: aio.Channel, model: str, rounds: int = 1) -> float:
    """Seconds that a right answer took."""
    began_s = time.monotonic()
    (raw,) = (await infer(channel, model, rounds)).raw_output_contents
    assert np.frombuffer(raw, np.int64).tolist() == [rounds]
    return time.monotonic() - began_s


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def books(service: Service, model: str):
    return next(each for each in service.counted() if each.name == model)


def pollers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("kokeshi-grpc-")]


@pytest.mark.parametrize("known", [False, True])
async def test_others_are_answered_at_once_and_a_client_that_is_killed_leaves_nothing(
    address, service, known
):
    async with channel_to(address) as other:
        for model in ("one", "free") if known else ():
            for _ in range(20):  # so that it is known to be fast, and runs where it is asked for
                await counted(other, model)
        before = books(service, "one").success.count
        async with channel_to(address) as killed:
            running = infer(killed, "one", LONG)
            await asyncio.sleep(0.1)
            waiting = [infer(killed, "one") for _ in range(WAITING)]
            await until(lambda: books(service, "one").pending == WAITING)
            took_s = [await counted(other, "free") for _ in range(50)]
            assert not running.done()
            assert sorted(took_s)[25] < 0.05
            assert max(took_s) < 1
        assert all(call.cancelled() for call in waiting)
        left = WAITING + (not known)  # what runs where it was asked for cannot be left
        await until(lambda: books(service, "one").failures[Failure.CANCELED] == left)
        assert books(service, "one").pending == 0
        await counted(other, "one")  # when what ran has ended
        told = books(service, "one")
        assert told.success.count == before + 1 + known
        assert told.fail.count == sum(told.failures.values()) == left


async def test_models_that_wedge_all_at_once_leave_a_thread_for_others(address, service):
    async with channel_to(address) as channel:
        for model in ("one", "two", "free"):
            for _ in range(20):
                await counted(channel, model)
        running = [infer(channel, model, LONG) for model in ("one", "two")]
        await asyncio.sleep(0.1)
        took_s = [await counted(channel, "free") for _ in range(20)]
        assert not any(call.done() for call in running)
        assert max(took_s) < 1
        assert len(pollers()) > KEPT + 1
        for call in running:
            call.cancel()
            with pytest.raises((asyncio.CancelledError, AioRpcError)):
                await call
        for model in ("one", "two"):
            await counted(channel, model)
        for _ in range(50):  # a thread that is one too many goes when it is done with an event
            await counted(channel, "free")
        await until(lambda: len(pollers()) == KEPT + 1)
