"""Tensors by name, with encoded images and texts in their place."""

import asyncio
import threading

import numpy as np
import pytest

from kokeshi.engines.protocol import Request
from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    InvalidImageError,
    InvalidRequestError,
    ModelNotFoundError,
)

RED = np.broadcast_to(np.array([255, 0, 0], np.uint8), (1, 8, 8, 3))


def encoded(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


async def test_tensors_go_straight_to_the_engine(service):
    request = Request("colours", {"image": RED}, outputs=("probabilities",))
    there = await service.tensors.infer(request)
    here = await asyncio.to_thread(service.tensors.infer_now, request)
    assert list(there) == list(here) == ["probabilities"]
    np.testing.assert_array_equal(there["probabilities"], here["probabilities"])
    assert there["probabilities"].argmax() == 0


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
async def test_images_of_all_sizes_answer_as_their_pixels_would(service, make_picture, shape):
    colours = ["red", (0, 255, 0), "blue"]
    files = [make_picture(colour, (9 + i, 40 - i)) for i, colour in enumerate(colours)]
    request = Request("colours", {"image": encoded(*files).reshape(shape)})
    there = await service.tensors.infer(request)
    here = await asyncio.to_thread(service.tensors.infer_now, request)
    for outputs in (there, here):
        assert outputs["probabilities"].argmax(axis=1).tolist() == [0, 1, 2]
        assert outputs["embedding"].shape == (3, 4)


async def test_more_images_than_a_batch_are_run_in_several(service, make_picture, monkeypatch):
    rows, priorities = [], set()
    infer = service._engine.infer

    async def spy(request):
        rows.append(len(request.inputs["image"]))
        priorities.add((request.priority, request.queue_timeout_s, request.version))
        return await infer(request)

    monkeypatch.setattr(service._engine, "infer", spy)
    files = [make_picture("red"), make_picture("blue")]
    request = Request("colours", {"image": encoded(*(files * 35))}, priority=2, queue_timeout_s=9.0)
    outputs = await service.tensors.infer(request)
    assert sorted(rows) == [6, 32, 32]
    assert priorities == {(2, 9.0, 1)}
    assert outputs["probabilities"].argmax(axis=1).tolist() == [0, 2] * 35


async def test_texts_answer_as_their_tokens_would(service):
    texts = Request("pair.text", {"tokens": encoded(b"red", b"green")})
    found = (await service.tensors.infer(texts))["embedding"]
    tokens = np.zeros((2, 8), np.int64)
    tokens[:, :3] = [[1, 3, 2], [1, 4, 2]]
    expected = (await service.tensors.infer(Request("pair.text", {"tokens": tokens})))["embedding"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("model", "name", "items", "kind", "message"),
    [
        ("colours", "image", [b"no image"], InvalidImageError, ""),
        ("colours", "image", [None, b"no image"], InvalidImageError, "input 1: "),
        ("colours", "image", [], InvalidRequestError, "1 to 256 inputs, not 0"),
        ("colours", "image", [b""] * 257, InvalidRequestError, "1 to 256 inputs, not 257"),
        ("colours", "picture", [b"x"], InvalidRequestError, "'picture'"),
        ("pair.text", "tokens", [b"red", b"\xff"], InvalidRequestError, "input 1: the text is not"),
        ("pair.text", "tokens", [b"red", b" "], InvalidRequestError, "input 1: text 0 is empty"),
        ("nothing", "image", [b"x"], ModelNotFoundError, "'nothing'"),
    ],
)
async def test_what_is_wrong_is_told(service, make_picture, model, name, items, kind, message):
    items = [make_picture("red") if item is None else item for item in items]
    request = Request(model, {name: encoded(*items)})
    for answer in (
        service.tensors.infer(request),
        asyncio.to_thread(service.tensors.infer_now, request),
    ):
        with pytest.raises(kind) as caught:
            await answer
        assert message in str(caught.value)


async def test_images_in_a_square_are_refused(service, make_picture):
    square = encoded(*[make_picture("red")] * 4).reshape(2, 2)
    with pytest.raises(InvalidRequestError, match=r"of shape \[n\] or \[n,1\], not \[2, 2\]"):
        await service.tensors.infer(Request("colours", {"image": square}))


async def test_the_deadline_counts_the_decoding(service, make_picture, monkeypatch):
    async def slow(data, contract):
        await asyncio.sleep(30)

    monkeypatch.setattr(service._images, "prepare", slow)
    request = Request("colours", {"image": encoded(make_picture("red"))}, timeout_s=0.05)
    with pytest.raises(DeadlineError):
        await service.tensors.infer(request)


async def test_a_caller_who_leaves_frees_the_thread_that_waits(service, make_picture, monkeypatch):
    waiting = threading.Event()
    cancelled = asyncio.Event()

    async def slow(data, contract):
        waiting.set()
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    monkeypatch.setattr(service._images, "prepare", slow)
    leave = []
    request = Request("colours", {"image": encoded(make_picture("red"))})
    thread = asyncio.create_task(
        asyncio.to_thread(service.tensors.infer_now, request, leave.append)
    )
    await asyncio.to_thread(waiting.wait, 5)
    leave[0]()
    with pytest.raises(CancelledError, match="has left"):
        await thread
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_tensors_need_no_event_loop(service, monkeypatch):
    monkeypatch.setattr(service.tensors, "_loop", None)
    leave = []
    request = Request("colours", {"image": RED})
    await asyncio.to_thread(service.tensors.infer_now, request, leave.append)
    assert not leave
