"""Models that come, change and go while Triton's client watches."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Wanted
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.readiness import Readiness
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

PLUS = "plus"


def plus(amount: float) -> bytes:
    """A graph of one line: y = x + amount, x and y (N, 3) float32."""
    value = helper.make_tensor("amount", TensorProto.FLOAT, [], [amount])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "amount"], ["y"])],
        PLUS,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [value],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def echo() -> bytes:
    """A graph that takes and gives strings, (N, 2)."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["said"], ["heard"])],
        "echo",
        [helper.make_tensor_value_info("said", TensorProto.STRING, ["N", 2])],
        [helper.make_tensor_value_info("heard", TensorProto.STRING, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


PLUS_CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
version_policy { all {} }
input { name: "x" data_type: TYPE_FP32 dims: 3 }
output { name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "names.txt" }
"""
FLAT_CONFIG = """
backend: "onnxruntime"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] }
"""
ECHO_CONFIG = """
backend: "onnxruntime"
max_batch_size: 4
input { name: "said" data_type: TYPE_STRING dims: 2 }
output { name: "heard" data_type: TYPE_STRING dims: 2 }
"""


def write(repository: Path, name: str, config: str, **versions: bytes) -> None:
    folder = repository / name
    for version, graph in versions.items():
        (folder / version.removeprefix("v")).mkdir(parents=True, exist_ok=True)
        (folder / version.removeprefix("v") / "model.onnx").write_bytes(graph)
    (folder / "config.pbtxt").write_text(config)
    (folder / "names.txt").write_text("first\nsecond\n")


@pytest.fixture
def repository(tmp_path: Path, tiny_repository: Path) -> Path:
    """A repository that tests may change."""
    made = tmp_path / "models"
    made.mkdir()
    shutil.copytree(tiny_repository / "colours", made / "colours")
    write(made, PLUS, PLUS_CONFIG, v1=plus(1), v2=plus(2))
    write(made, "flat", FLAT_CONFIG, v1=plus(1))
    write(made, "echo", ECHO_CONFIG, v1=echo())
    return made


@pytest.fixture
async def service(repository: Path, tmp_path: Path) -> AsyncIterator[Service]:
    """A service whose models are loaded by request; the doors of this module stand before it."""
    wanted = Wanted(mode="explicit", models=(PLUS, "flat", "echo"))
    engine = EmbeddedEngine(repository, threads=1, wanted=wanted)
    made = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "data"), Limits())
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(both) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with triton_aio.InferenceServerClient(both.address) as made:
        yield made


def x(values) -> list[triton.InferInput]:
    array = np.asarray(values, np.float32)
    given = triton.InferInput("x", array.shape, "FP32")
    given.set_data_from_numpy(array)
    return [given]


async def states(client) -> dict[tuple[str, str], str]:
    index = (await client.get_model_repository_index()).models
    return {(each.name, each.version): each.state for each in index}


async def refused(call) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        await call
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


async def test_the_newest_version_answers_and_each_by_its_number(client):
    for version, sums in (("", 2), ("1", 1), ("2", 2)):
        answer = await client.infer(PLUS, x([[0, 0, 0]]), model_version=version)
        assert answer.as_numpy("y").tolist() == [[sums] * 3]
        assert answer.get_response().model_version == (version or "2")
    metadata = await client.get_model_metadata(PLUS)
    assert list(metadata.versions) == ["1", "2"]


async def test_a_model_without_a_card_answers_tensors(client):
    metadata = await client.get_model_metadata(PLUS)
    assert [list(each.shape) for each in (*metadata.inputs, *metadata.outputs)] == [[-1, 3]] * 2
    image = triton.InferInput("x", [1], "BYTES")
    image.set_data_from_numpy(np.array([b"a picture"], object))
    code, message = await refused(client.infer(PLUS, [image]))
    assert code == "INVALID_ARGUMENT"
    assert message.endswith("data-type is 'BYTES', but model 'plus' expects 'FP32'")


async def test_labels_come_from_the_file_of_the_folder(client):
    wanted = [triton.InferRequestedOutput("y", class_count=3)]
    answer = await client.infer(PLUS, x([[0.5, 2, -4]]), model_version="1", outputs=wanted)
    # there is no third label
    assert answer.as_numpy("y").tolist() == [
        [b"3.000000:1:second", b"1.500000:0:first", b"-3.000000:2"]
    ]


async def test_without_batching_the_first_axis_is_the_models_own(client):
    metadata = await client.get_model_metadata("flat")
    assert list(metadata.inputs[0].shape) == [-1, 3]
    answer = await client.infer("flat", x(np.zeros((100, 3))))
    assert answer.as_numpy("y").shape == (100, 3)
    wanted = [triton.InferRequestedOutput("y", class_count=2)]
    answer = await client.infer("flat", x([[1, 2, 3], [6, 5, 4]]), outputs=wanted)
    assert answer.as_numpy("y").tolist() == [b"7.000000:3", b"6.000000:4"]
    code, message = await refused(client.infer("flat", x([1, 2, 3])))
    assert (code, message) == (
        "INVALID_ARGUMENT",
        "unexpected shape for input 'x' for model 'flat': expected [-1,3], got [3]",
    )


async def test_strings_of_a_graph_are_strings_and_no_images(client):
    said = np.array([[b"a", "größe".encode()], [b"", b"d"]], object)
    given = triton.InferInput("said", [2, 2], "BYTES")
    given.set_data_from_numpy(said)
    answer = await client.infer("echo", [given])
    assert answer.as_numpy("heard").tolist() == said.tolist()


async def test_a_model_is_loaded_and_unloaded_by_request(client):
    assert (await states(client))["colours", ""] == "UNAVAILABLE"
    assert not await client.is_model_ready("colours")
    code, _ = await refused(client.get_model_metadata("colours"))
    assert code == "UNAVAILABLE"
    await client.load_model("colours")
    assert (await states(client))["colours", "1"] == "READY"
    assert await client.is_model_ready("colours")
    await client.unload_model("colours", unload_dependents=True)
    assert not await client.is_model_ready("colours")
    code, message = await refused(client.load_model("nothing"))
    assert code == "NOT_FOUND"
    assert "'nothing'" in message
    assert (await refused(client.unload_model("nothing")))[0] == "NOT_FOUND"


async def test_a_model_is_loaded_with_what_the_client_sends(client):
    config = {
        "backend": "onnxruntime",
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
    }
    await client.load_model(PLUS, config=json.dumps(config), files={"file:7/model.onnx": plus(7)})
    answer = await client.infer(PLUS, x([[0, 0, 0]]))
    assert answer.as_numpy("y").tolist() == [[7] * 3]
    assert answer.get_response().model_version == "7"
    assert (await refused(client.infer(PLUS, x([[0, 0, 0]]), model_version="2")))[0] in {
        "NOT_FOUND",
        "UNAVAILABLE",
    }
    await client.load_model(PLUS)  # and back to the folder's
    answer = await client.infer(PLUS, x([[0, 0, 0]]))
    assert answer.get_response().model_version == "2"


async def test_a_graph_that_is_none_takes_no_version_down(client):
    config = {"backend": "onnxruntime", "max_batch_size": 8}
    code, _ = await refused(
        client.load_model(PLUS, config=json.dumps(config), files={"file:9/model.onnx": b"no graph"})
    )
    assert code in {"UNAVAILABLE", "INVALID_ARGUMENT"}
    answer = await client.infer(PLUS, x([[0, 0, 0]]))
    assert answer.get_response().model_version == "2"


async def test_who_asks_while_versions_are_swapped_is_answered_rightly(client, both, repository):
    """Every answer is of the version that it names."""
    wrong, asked = [], 0
    stop = False

    def ask() -> None:
        nonlocal asked
        with triton.InferenceServerClient(both.address) as blocking:
            while not stop:
                try:
                    answer = blocking.infer(PLUS, x([[0, 0, 0]]))
                except InferenceServerException as error:
                    wrong.append(error)
                    return
                version = float(answer.get_response().model_version)
                if answer.as_numpy("y")[0, 0] != version:
                    wrong.append(version)
                asked += 1

    asking = [asyncio.create_task(asyncio.to_thread(ask)) for _ in range(3)]
    latest = PLUS_CONFIG.replace("all {}", "latest { num_versions: 1 }")
    for version in range(3, 9):
        write(repository, PLUS, latest, **{f"v{version}": plus(version)})
        await client.load_model(PLUS)
        await asyncio.sleep(0.05)
    stop = True
    await asyncio.gather(*asking)
    assert not wrong
    assert asked > 20
    answer = await client.infer(PLUS, x([[0, 0, 0]]))
    assert answer.get_response().model_version == "8"


async def test_where_models_are_not_loaded_by_request_that_is_said(tiny_repository, tmp_path):
    engine = EmbeddedEngine(tiny_repository, threads=1)
    service = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "other"), Limits())
    await service.start()
    try:
        server = make_grpc_server(service, Readiness(service))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
            for call in (client.load_model("colours"), client.unload_model("colours")):
                assert (await refused(call))[0] == grpc.StatusCode.UNAVAILABLE.name
        await server.stop(5)
    finally:
        await service.close()
