"""Models loaded and unloaded, and shared memory named, over KServe v2's HTTP."""

import json
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from multiprocessing.shared_memory import SharedMemory

import httpx
import numpy as np
import pytest

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Wanted
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

MODEL = "/v2/repository/models/tags"
REGION = "/v2/systemsharedmemory/region/pixels"
BLUE = np.zeros((1, 8, 8, 3), np.uint8)
BLUE[..., 2] = 255
ASKED = {
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": BLUE.tolist()}]
}


@pytest.fixture
async def http(tiny_repository, tmp_path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that loads what it is told to: at first, `colours` alone."""
    engine = EmbeddedEngine(
        tiny_repository, threads=1, wanted=Wanted(mode="explicit", models=["colours"])
    )
    service = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "data"), Limits())
    await service.start()
    transport = httpx.ASGITransport(make_app(service, Readiness(service)))
    async with httpx.AsyncClient(transport=transport, base_url="http://kokeshi") as client:
        yield client
    await service.close()


def done(response):
    assert (response.status_code, response.content) == (200, b"")


def error(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]


async def state(http):
    told = (await http.post("/v2/repository/index")).json()
    return {each["name"]: (each["version"], each["state"]) for each in told}


async def test_a_model_is_loaded_and_unloaded(http):
    assert (await state(http))["tags"] == ("", "UNAVAILABLE")
    assert "tags" in error(await http.post("/v2/models/tags/infer", json=ASKED), 503)
    done(await http.post(f"{MODEL}/load"))
    assert (await state(http))["tags"] == ("1", "READY")
    assert (await http.post("/v2/models/tags/infer", json=ASKED)).status_code == 200
    done(await http.post(f"{MODEL}/unload", json={"parameters": {"unload_dependents": False}}))
    error(await http.get("/v2/models/tags/ready"))
    assert (await http.get("/v2/models/colours/ready")).status_code == 200


async def test_a_model_is_loaded_with_a_configuration_and_a_file_of_the_clients(
    http, tiny_repository
):
    done(await http.post(f"{MODEL}/load"))
    config = (await http.get("/v2/models/tags/config")).json()
    config["max_batch_size"] = 2
    parameters = {"config": json.dumps(config)}
    done(await http.post(f"{MODEL}/load", json={"parameters": parameters}))
    assert (await http.get("/v2/models/tags/config")).json()["max_batch_size"] == 2
    graph = (tiny_repository / "tags" / "1" / "model.onnx").read_bytes()
    parameters["file:1/model.onnx"] = b64encode(graph).decode()
    done(await http.post(f"{MODEL}/load", json={"parameters": parameters}))
    assert (await http.post("/v2/models/tags/infer", json=ASKED)).status_code == 200


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"file:1/model.onnx": "AAAA"}, "'config'"),
        ({"config": "{"}, "'config'"),
        ({"config": 1}, "'config'"),
        ({"config": "{}", "file:1/model.onnx": "%"}, "base64"),
        ({"other": "x"}, "'other'"),
        (1, "JSON object"),
    ],
)
async def test_what_cannot_be_loaded_is_refused(http, parameters, said):
    assert said in error(await http.post(f"{MODEL}/load", json={"parameters": parameters}))


async def test_an_unknown_model_is_not_loaded(http):
    error(await http.post("/v2/repository/models/none/load"), 404)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    """A segment with a blue picture at 64, and room at 1024."""
    made = SharedMemory(f"kokeshi-test-{uuid.uuid4().hex}", create=True, size=4096)
    made.buf[64 : 64 + BLUE.nbytes] = BLUE.tobytes()
    yield made
    made.close()
    made.unlink()


def placed(offset, size, name="pixels"):
    return {
        "shared_memory_region": name,
        "shared_memory_offset": offset,
        "shared_memory_byte_size": size,
    }


async def test_tensors_lie_in_shared_memory_both_ways(http, memory):
    where = {"key": f"/{memory.name}", "offset": 0, "byte_size": 4096}
    done(await http.post(f"{REGION}/register", json=where))
    for path in (f"{REGION}/status", "/v2/systemsharedmemory/status"):
        assert (await http.get(path)).json() == [{"name": "pixels", **where}]
    given = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
    asked = {
        "inputs": [{**given, "parameters": placed(64, BLUE.nbytes)}],
        "outputs": [
            {"name": "probabilities", "parameters": placed(1024, 12)},
            {"name": "embedding"},
        ],
    }
    response = await http.post("/v2/models/colours/infer", json=asked)
    assert response.status_code == 200, response.text
    first, second = response.json()["outputs"]
    assert "data" not in first
    assert first["parameters"] == placed(1024, 12)
    assert len(second["data"]) == 4
    found = np.frombuffer(bytes(memory.buf[1024:1036]), np.float32)
    assert found.argmax() == 2
    done(await http.post(f"{REGION}/unregister"))
    error(await http.post("/v2/models/colours/infer", json=asked), 404)
    done(await http.post("/v2/systemsharedmemory/unregister"))
    assert (await http.get("/v2/systemsharedmemory/status")).json() == []


async def test_shared_memory_that_does_not_fit_is_refused(http, memory):
    error(await http.get(f"{REGION}/status"), 404)
    for where, said in (
        ({}, "'key'"),
        ({"key": memory.name}, "'byte_size'"),
        ({"key": memory.name, "byte_size": -1}, "'byte_size'"),
        ({"key": memory.name, "byte_size": 10**9}, "byte"),
        ({"key": "/../etc/passwd", "byte_size": 1}, "key"),
        ({"key": f"{memory.name}-none", "byte_size": 1}, "open"),
    ):
        assert said in error(await http.post(f"{REGION}/register", json=where))
    done(await http.post(f"{REGION}/register", json={"key": memory.name, "byte_size": 256}))
    given = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
    wanted = {"name": "probabilities"}
    for place, room in ((placed(65, 192), None), (placed(64, 192), placed(0, 4))):
        asked = {
            "inputs": [{**given, "parameters": place}],
            "outputs": [{**wanted, "parameters": room}] if room else [],
        }
        error(await http.post("/v2/models/colours/infer", json=asked))
