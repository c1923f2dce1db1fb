"""Every route gives the embedded engine's answers, and its errors."""

import asyncio
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from PIL import Image as Picture

from kokeshi.engines.protocol import Request, State
from kokeshi.errors import (
    DeadlineError,
    DimensionError,
    InferenceError,
    InvalidImageError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    SpaceMismatchError,
    UnavailableError,
    WrongTaskError,
)
from kokeshi.service.types import (
    Encoding,
    Image,
    MaskFormat,
    NewItem,
    SearchMode,
    Tensor,
    Text,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

RTOL, ATOL = 1e-5, 1e-6
SHORT = np.array([[50_000]])
LATE = Request("slow", {"steps": SHORT * 10}, timeout_s=0.02)


def picture(*colours, size=(40, 20)):
    """Stripes, so that no two places are alike."""
    canvas = Picture.new("RGB", size)
    width = size[0] // len(colours)
    for place, colour in enumerate(colours):
        canvas.paste(Picture.new("RGB", (width, size[1]), colour), (place * width, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return Image(buffer.getvalue())


RED = picture("red")
STRIPES = picture("red", "blue", (10, 200, 30))
PURPLE = picture((120, 20, 180), size=(17, 31))
MANY = [picture((n * 6, 255 - n * 6, n)) for n in range(40)]  # more than one batch
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


def same(found, wanted, where="answer"):
    """Compares two answers, numbers within the tolerance."""
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype, where
        np.testing.assert_allclose(found, wanted, RTOL, ATOL, err_msg=where)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=RTOL, abs=ATOL), where
    elif (parts := parts_of(wanted)) is not None:
        assert type(found) is type(wanted), where
        others = parts_of(found)
        assert list(others) == list(parts), where
        for name, value in parts.items():
            same(others[name], value, f"{where}[{name!r}]")
    else:
        assert found == wanted, where


def parts_of(value):
    """What an answer is made of, by name; None: it is one thing."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return dict(enumerate(value))
    return None


def encoded(*images):
    array = np.empty(len(images), object)
    array[:] = [image.data for image in images]
    return array


async def now(service, request):
    """The call that blocks, on a thread."""
    return await asyncio.to_thread(service.tensors.infer_now, request)


async def search(service, queries, **options):
    await service.create_collection("pictures", options.pop("model", "colours"))
    try:
        items = [NewItem(f"item {n}", image, {"n": n}) for n, image in enumerate(MANY[::5])]
        await service.add_items("pictures", items)
        return await service.search("pictures", queries, k=4, **options)
    finally:
        await service.delete_collection("pictures")


def request(model, outputs=(), version=0, **inputs):
    return Request(model, inputs, outputs=outputs, version=version)


ANSWERS = {
    "classify": lambda it: it.classify("colours", [STRIPES]),
    "classify several, best one": lambda it: it.classify("colours", [RED, PURPLE], top_k=1),
    "classify more than a batch": lambda it: it.classify("colours", MANY),
    "classify multi-label": lambda it: it.classify("tags", [STRIPES, PURPLE], threshold=0.2),
    "classify a tensor": lambda it: it.classify("colours", [Tensor(PIXELS[0])]),
    "classify, a version": lambda it: it.classify("colours", [RED], version=1),
    "classify zero-shot": lambda it: it.classify(
        "pair", [RED, PURPLE], labels=["blue", "red"], templates=["{}", "{} green"]
    ),
    "embed": lambda it: it.embed("colours", [STRIPES, PURPLE]),
    "embed a prefix": lambda it: it.embed("colours", [STRIPES], dimension=2),
    "embed in eight bits": lambda it: it.embed("colours", [STRIPES], encoding=Encoding.INT8),
    "embed in sixteen bits": lambda it: it.embed("colours", [STRIPES], encoding=Encoding.FLOAT16),
    "embed a text": lambda it: it.embed("pair", [Text("red blue"), Text("green")]),
    "segment": lambda it: it.segment("regions", [STRIPES, PURPLE]),
    "segment as run lengths": lambda it: it.segment("regions", [STRIPES], format=MaskFormat.RLE),
    "segment as polygons": lambda it: it.segment("regions", [STRIPES], format=MaskFormat.POLYGONS),
    "segment a foreground": lambda it: it.segment("glow", [STRIPES], threshold=0.3),
    "compare": lambda it: it.compare("colours", RED, PURPLE),
    "compare a picture with a text": lambda it: it.compare("pair", RED, Text("red")),
    "search": lambda it: search(it, [PURPLE, RED]),
    "search in two stages": lambda it: search(
        it, [PURPLE], mode=SearchMode.TWO_STAGE, dimension=2, with_vectors=True
    ),
    "search by text": lambda it: search(it, [Text("green")], model="pair"),
    "tensors": lambda it: it.tensors.infer(request("colours", image=PIXELS)),
    "tensors, now": lambda it: now(it, request("colours", image=PIXELS)),
    "tensors, one output": lambda it: it.tensors.infer(
        request("colours", ["embedding"], image=PIXELS)
    ),
    "tensors, integers out": lambda it: now(it, request("regions", image=PIXELS)),
    "tensors, a model without a card": lambda it: now(
        it, request("picky", index=np.array([[2], [0]]))
    ),
    "pictures as tensors": lambda it: it.tensors.infer(
        request("colours", image=encoded(RED, PURPLE, STRIPES))
    ),
    "pictures as tensors, now, more than a batch": lambda it: now(
        it, request("colours", image=encoded(*MANY))
    ),
}


@pytest.mark.parametrize("call", ANSWERS)
async def test_answers_are_the_same(reference, route, call):
    same(await ANSWERS[call](route), await ANSWERS[call](reference))


ERRORS = {
    "no such model": (
        lambda it: it.classify("none", [RED]), ModelNotFoundError,
    ),
    "no such version": (
        lambda it: it.classify("colours", [RED], version=7), ModelNotFoundError,
    ),
    "another task": (
        lambda it: it.segment("colours", [RED]), WrongTaskError,
    ),
    "a model without a card": (
        lambda it: it.classify("picky", [RED]), WrongTaskError,
    ),
    "a text for pictures": (
        lambda it: it.embed("colours", [Text("red")]), WrongTaskError,
    ),
    "a length not trained": (
        lambda it: it.embed("colours", [RED], dimension=1), DimensionError,
    ),
    "no inputs": (
        lambda it: it.embed("colours", []), InvalidRequestError,
    ),
    "too many inputs": (
        lambda it: it.embed("colours", [RED] * 257), InvalidRequestError,
    ),
    "no image": (
        lambda it: it.embed("colours", [RED, Image(b"no image")]), InvalidImageError,
    ),
    "no image among tensors": (
        lambda it: now(it, request("colours", image=encoded(RED, Image(b"no image")))),
        InvalidImageError,
    ),
    "a tensor of another shape": (
        lambda it: it.embed("colours", [Tensor(PIXELS[0, :4])]), InvalidRequestError,
    ),
    "tensors of another shape": (
        lambda it: now(it, request("colours", image=PIXELS[:, :4])), InvalidRequestError,
    ),
    "tensors of another type": (
        lambda it: now(it, request("colours", image=PIXELS.astype(np.float32))),
        InvalidRequestError,
    ),
    "tensors of another name": (
        lambda it: now(it, request("colours", picture=PIXELS)), InvalidRequestError,
    ),
    "tensors for another output": (
        lambda it: now(it, request("colours", ["logits"], image=PIXELS)), InvalidRequestError,
    ),
    "more rows than a batch": (
        lambda it: now(it, request("colours", image=np.zeros((33, 8, 8, 3), np.uint8))),
        InvalidRequestError,
    ),
    "tensors for no model": (
        lambda it: now(it, request("none", image=PIXELS)), ModelNotFoundError,
    ),
    "a graph that fails": (
        lambda it: now(it, request("picky", index=np.array([[9]]))), InferenceError,
    ),
    "vectors of another space": (
        lambda it: search(it, [Tensor(np.ones(4, np.float32))], space="other"),
        SpaceMismatchError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", ERRORS)
async def test_errors_are_the_same(reference, route, call):
    ask, error = ERRORS[call]
    told = []
    for service in (reference, route):
        with pytest.raises(error) as raised:
            await ask(service)
        told.append((type(raised.value), raised.value.code, str(raised.value)))
    assert told[0] == told[1]


async def answered(service, within_s=20):
    """Asks the slow model until its queue takes it: what was given up may still be in there."""
    until_s = time.monotonic() + within_s
    while True:
        try:
            answer = await service.tensors.infer(Request("slow", {"steps": SHORT}))
        except OverloadedError:
            assert time.monotonic() < until_s, "the queue was full all the time"
            await asyncio.sleep(0.05)
        else:
            assert answer["taken"] == SHORT
            return


async def test_deadlines_are_kept_everywhere(reference, route):
    for service in (reference, route):
        with pytest.raises(DeadlineError, match="did not answer in time"):
            await service.tensors.infer(LATE)
        await answered(service)


async def test_a_thread_that_waits_for_a_triton_is_let_go_at_its_deadline(route):
    with pytest.raises(DeadlineError, match="did not answer in time"):
        await now(route, LATE)
    await answered(route)


async def test_full_queues_refuse_everywhere(reference, route):
    for service in (reference, route):
        await answered(service)
        calls = [service.tensors.infer(Request("slow", {"steps": SHORT})) for _ in range(10)]
        told = await asyncio.gather(*calls, return_exceptions=True)
        kinds = Counter(type(it) for it in told)
        assert set(kinds) == {dict, OverloadedError}
        assert all(it.retry_after_s > 0 for it in told if isinstance(it, OverloadedError))
        assert all(it["taken"] == SHORT for it in told if isinstance(it, dict))


async def test_a_call_that_is_given_up_leaves_the_model_free(reference, route):
    for service in (reference, route):
        asking = asyncio.create_task(service.tensors.infer(Request("slow", {"steps": SHORT})))
        await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await answered(service)


async def test_models_are_told_alike(reference, route):
    def told(service):
        return [(it.name, it.version, it.state, it.reason, it.card) for it in service.models()]

    assert told(route) == told(reference)
    assert {it.state for it in route.models()} == {State.READY}
    assert route.ready()
    for info in reference.models():
        ours, theirs = (it.config(info.name) for it in (route, reference))
        for field in ("name", "max_batch_size", "parameters"):
            assert getattr(ours, field) == getattr(theirs, field)
        for tensors in ("input", "output"):
            assert [
                (it.name, it.data_type, it.dims, it.label_filename) for it in getattr(ours, tensors)
            ] == [
                (it.name, it.data_type, it.dims, it.label_filename)
                for it in getattr(theirs, tensors)
            ]


async def test_what_ran_is_counted_everywhere(reference, route):
    async def grown(service):
        (before,) = await service.statistics("tags")
        await service.tensors.infer(request("tags", image=PIXELS))
        async with asyncio.timeout(5):  # Triton answers first, and counts then
            after = before
            while after.success.count == before.success.count:
                (after,) = await service.statistics("tags")
        return after.inference_count - before.inference_count, (
            after.success.count - before.success.count
        )

    assert await grown(route) == await grown(reference) == (3, 1)


async def test_a_model_that_is_unloaded_is_unavailable_and_comes_back(route):
    await route.unload("glow")
    with pytest.raises((UnavailableError, ModelNotFoundError)):
        await route.segment("glow", [RED])
    await route.load("glow")
    await route.segment("glow", [RED])
