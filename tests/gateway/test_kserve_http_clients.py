"""KServe v2 over HTTP, with NVIDIA's own clients."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest
import tritonclient.http as blocking
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException, shared_memory

from kokeshi.gateway.serve import doors

FREE = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}
PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
PIXELS[0, ..., 0] = PIXELS[1, ..., 2] = 255  # red and blue


@pytest.fixture
async def address(service) -> AsyncIterator[str]:
    async with doors(service, **FREE) as addresses:
        yield addresses.http


@pytest.fixture
async def client(address) -> AsyncIterator[aio.InferenceServerClient]:
    async with aio.InferenceServerClient(address) as made:
        yield made


def given(module, array=PIXELS, *, datatype="UINT8", binary=True):
    tensor = module.InferInput("image", list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def pictures(make_picture):
    return np.array([make_picture("red"), make_picture("blue", (31, 17), "JPEG")], object)


async def test_the_client_on_an_event_loop_asks_everything(client):
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("colours", "1")
    assert not await client.is_model_ready("none")
    assert "statistics" in (await client.get_server_metadata())["extensions"]
    assert (await client.get_model_metadata("colours"))["name"] == "colours"
    assert (await client.get_model_config("colours", "1"))["max_batch_size"] == 32
    index = await client.get_model_repository_index()
    assert {"colours", "tags"} <= {each["name"] for each in index}
    told = await client.get_inference_statistics("colours")
    assert told["model_stats"][0]["name"] == "colours"
    assert await client.get_system_shared_memory_status() == []
    for call in (client.get_cuda_shared_memory_status, client.get_log_settings):
        with pytest.raises(InferenceServerException, match=r"not supported|cannot be changed"):
            await call()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
async def test_the_client_on_an_event_loop_infers(client, binary, encoding):
    answer = await client.infer(
        "colours",
        [given(aio, binary=binary)],
        outputs=[
            aio.InferRequestedOutput("embedding", binary_data=binary),
            aio.InferRequestedOutput("probabilities", binary_data=not binary, class_count=1),
        ],
        request_id="seven",
        priority=1,
        timeout=5_000_000,
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )
    assert answer.get_response()["id"] == "seven"
    assert answer.as_numpy("embedding").shape == (2, 4)
    classes = answer.as_numpy("probabilities").ravel().tolist()
    words = [each.decode() if isinstance(each, bytes) else each for each in classes]
    assert [each.rpartition(":")[2] for each in words] == ["red", "blue"]


async def test_the_client_on_an_event_loop_sends_images(client, make_picture):
    answer = await client.infer("colours", [given(aio, pictures(make_picture), datatype="BYTES")])
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 2]


async def test_the_client_on_an_event_loop_is_told_what_was_wrong(client):
    with pytest.raises(InferenceServerException, match="'none'") as raised:
        await client.infer("none", [given(aio)])
    assert raised.value.status() == "404"
    with pytest.raises(InferenceServerException, match="expected \\[-1,8,8,3\\]") as raised:
        await client.infer("colours", [given(aio, PIXELS[0])])
    assert raised.value.status() == "400"


def infer_by_threads(address, make_picture):
    """All that the blocking client does, on one thread: it switches between greenlets."""
    with blocking.InferenceServerClient(address, concurrency=4) as client:
        assert client.is_server_ready()
        assert client.get_model_metadata("colours")["versions"] == ["1"]
        waiting = [client.async_infer("colours", [given(blocking)]) for _ in range(8)]
        for each in waiting:
            found = each.get_result().as_numpy("probabilities")
            assert found.argmax(axis=1).tolist() == [0, 2]
        tensor = given(blocking, pictures(make_picture), datatype="BYTES")
        found = client.infer("colours", [tensor]).as_numpy("embedding")
        assert found.shape == (2, 4)
        through_memory(client)


def through_memory(client):
    name = f"kokeshi-test-{uuid.uuid4().hex}"
    region = shared_memory.create_shared_memory_region("pixels", name, 1024)
    try:
        shared_memory.set_shared_memory_region(region, [PIXELS])
        client.register_system_shared_memory("pixels", name, 1024)
        tensor = blocking.InferInput("image", [2, 8, 8, 3], "UINT8")
        tensor.set_shared_memory("pixels", PIXELS.nbytes)
        wanted = blocking.InferRequestedOutput("probabilities")
        wanted.set_shared_memory("pixels", 24, offset=512)
        answer = client.infer("colours", [tensor], outputs=[wanted])
        assert answer.get_output("probabilities")["shape"] == [2, 3]
        found = shared_memory.get_contents_as_numpy(region, np.float32, [2, 3], offset=512)
        assert found.argmax(axis=1).tolist() == [0, 2]
        client.unregister_system_shared_memory("pixels")
        assert client.get_system_shared_memory_status() == []
    finally:
        shared_memory.destroy_shared_memory_region(region)


async def test_the_blocking_client_infers_and_shares_memory(address, make_picture):
    await asyncio.to_thread(infer_by_threads, address, make_picture)
