"""One service by every route: the same repository, run by each engine and through a gateway."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import pytest_asyncio
from onnx import TensorProto, helper, numpy_helper

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.triton.installation import Installation
from kokeshi.engines.triton.local import LocalTriton
from kokeshi.engines.triton.remote import TritonEngine
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.readiness import Readiness
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

ROUTES = ("local triton", "remote triton", "gateway before triton")
# A model of which one request waits while another runs, and a third is refused.
SLOW_CONFIG = """
name: "slow"
backend: "onnxruntime"
max_batch_size: 1
input { name: "steps" data_type: TYPE_INT64 dims: 1 }
output { name: "taken" data_type: TYPE_INT64 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { default_queue_policy { max_queue_size: 1 } }
"""
PICKY_CONFIG = """
name: "picky"
backend: "onnxruntime"
max_batch_size: 4
input { name: "index" data_type: TYPE_INT64 dims: 1 }
output { name: "value" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { }
"""


def _model(nodes, inputs, outputs, constants):
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initialisers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def _value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def _slow():
    """Counts to `steps`, one by one."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["so_far", "one"], ["now"]),
        ],
        "body",
        [
            _value("turn", TensorProto.INT64),
            _value("go_on", TensorProto.BOOL),
            _value("so_far", TensorProto.INT64),
        ],
        [_value("still", TensorProto.BOOL), _value("now", TensorProto.INT64)],
        [numpy_helper.from_array(np.array(1), "one")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["steps"], ["count"], keepdims=0),
        helper.make_node("Loop", ["count", "", "zero"], ["counted"], body=body),
        helper.make_node("Mul", ["steps", "zero"], ["nothing"]),  # of the rows that came
        helper.make_node("Add", ["nothing", "counted"], ["taken"]),
    ]
    inputs = [_value("steps", TensorProto.INT64, "N", 1)]
    outputs = [_value("taken", TensorProto.INT64, "N", 1)]
    return _model(nodes, inputs, outputs, {"zero": np.array(0)})


def _picky():
    """Looks its input up in a table of three: a fourth is an error while it runs."""
    nodes = [helper.make_node("Gather", ["table", "index"], ["value"])]
    inputs = [_value("index", TensorProto.INT64, "N", 1)]
    outputs = [_value("value", TensorProto.FLOAT, "N", 1)]
    return _model(nodes, inputs, outputs, {"table": np.array([1, 2, 3], np.float32)})


@pytest.fixture(scope="session")
def repository(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with one process each, and two that have no card."""
    folder = tmp_path_factory.mktemp("congruence") / "models"
    shutil.copytree(tiny_repository, folder)
    for model in folder.iterdir():
        config = model / "config.pbtxt"
        config.write_text(config.read_text() + "\ninstance_group { kind: KIND_CPU count: 1 }\n")
        if re.search("label_filename", config.read_text()):
            (model / "labels.txt").write_text("red\ngreen\nblue\n")
    for name, config, graph in (
        ("slow", SLOW_CONFIG, _slow()),
        ("picky", PICKY_CONFIG, _picky()),
    ):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.onnx").write_bytes(graph)
        (folder / name / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture(scope="session")
def triton(tritonserver: Installation, repository: Path) -> Iterator[LocalTriton]:
    """A supervised tritonserver with the models, for all routes."""
    local = LocalTriton(tritonserver, repository, threads=1)
    asyncio.run(local.start())
    yield local
    asyncio.run(local.close())


@asynccontextmanager
async def _serving(engine, data):
    made = Service(engine, ImagePool(2), EmbeddedStore(data), Limits())
    await made.start()
    failed = {info.name: info.reason for info in made.models() if info.reason}
    assert not failed, failed
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def _gateway(service):
    """A gRPC door, on a free port."""
    readiness = Readiness(service)
    server = make_grpc_server(service, readiness)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        readiness.drain()
        readiness.close()
        await server.stop(5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reference(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """The service on the embedded engine."""
    data = tmp_path_factory.mktemp("reference")
    async with _serving(EmbeddedEngine(repository, threads=1), data) as made:
        yield made


@pytest_asyncio.fixture(params=ROUTES, scope="module", loop_scope="module")
async def route(
    request: pytest.FixtureRequest,
    triton: LocalTriton,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    """The service by another route: shared memory, gRPC, or one gateway behind another."""
    options = {"files": repository, "fallen": triton.fallen}
    match request.param:
        case "local triton":
            options |= {"shared_memory": True, "shared_from_bytes": 1}
        case "remote triton":
            options |= {"shared_memory": False}
    engine = TritonEngine([triton.address], **options)
    data = tmp_path_factory.mktemp("route")
    async with _serving(engine, data / "behind") as made:
        if request.param != "gateway before triton":
            yield made
            return
        async with _gateway(made) as address:
            before = TritonEngine([address], files=repository, shared_from_bytes=1)
            async with _serving(before, data / "before") as service:
                yield service
