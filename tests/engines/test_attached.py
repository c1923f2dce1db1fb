"""An engine behind sockets answers as the engine itself, and says so when it is gone."""

import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.process.attached import AttachedEngine
from kokeshi.engines.process.host import EngineHost
from kokeshi.engines.process.requests import pack, unpack
from kokeshi.engines.protocol import Request, State, Wanted
from kokeshi.engines.statistics import Failure
from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
)

FULL = 32  # rows of a batch of the tiny models


@pytest.fixture
def folder():
    """A socket's path has at most 107 bytes, and pytest's folders are deep."""
    with tempfile.TemporaryDirectory(prefix="kokeshi-test-") as made:
        yield Path(made)


@pytest.fixture
async def engine(tiny_repository):
    wanted = Wanted("explicit", models=("*",))
    made = EmbeddedEngine(tiny_repository, threads=1, wanted=wanted, cache_bytes=1 << 20)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def loaded():
    return []


@pytest.fixture
async def host(engine, folder, loaded):
    made = EngineHost(engine, folder, lambda *told: loaded.append(told))
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
async def attached(host, folder):
    made = AttachedEngine(folder, name="embedded")
    await made.start()
    yield made
    await made.close()


def picture(value=200, rows=1, model="colours"):
    return Request(model, {"image": np.full((rows, 8, 8, 3), value, np.uint8)})


def slow_queue(engine, delay_s=20):
    """A configuration with which requests wait for a batch to fill."""
    config = text_format.Parse(engine.pbtxt("colours"), model_config_pb2.ModelConfig())
    config.dynamic_batching.max_queue_delay_microseconds = delay_s * 10**6
    return text_format.MessageToString(config)


@pytest.fixture
def request_of(engine):
    """A request that the model takes, with random values."""

    def make(model, seed, rows=1):
        rng = np.random.default_rng(seed)
        (one,) = engine.config(model).input
        dtype = {"TYPE_UINT8": np.uint8, "TYPE_INT64": np.int64}[one.data_type]
        return Request(model, {one.name: rng.integers(0, 4, (rows, *one.dims)).astype(dtype)})

    return make


async def until(condition, timeout_s=10.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        await asyncio.sleep(0.01)


def same(left, right):
    assert set(left) == set(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_allclose(left[name], right[name], rtol=1e-6)  # batches differ


async def test_it_knows_what_the_engine_knows(engine, attached):
    assert attached.models() == engine.models()
    assert list(attached.providers()) == list(engine.providers())
    assert attached.path() == "shared memory"
    for status in engine.models():
        for version in (0, status.version):
            which = status.name, version
            assert attached.config(*which) == engine.config(*which)
            assert attached.pbtxt(*which) == engine.pbtxt(*which)
            assert attached.card(*which) == engine.card(*which)
            assert attached.max_rows(*which) == engine.max_rows(*which)
    assert attached.file("pair.text", "tokenizer.json") == engine.file(
        "pair.text", "tokenizer.json"
    )


async def test_every_model_gives_the_same_answers(engine, attached, request_of):
    for number, status in enumerate(engine.models()):
        for rows in (1, 3):
            request = request_of(status.name, number, rows)
            direct = await engine.infer(request)
            same(direct, await attached.infer(request))
            same(direct, await asyncio.to_thread(attached.infer_now, request))


async def test_outputs_are_chosen_and_kept_apart(attached):
    wanted = Request("colours", picture(10).inputs, outputs=("embedding",))
    first = await attached.infer(wanted)
    assert list(first) == ["embedding"]
    before = first["embedding"].copy()
    await attached.infer(Request("colours", picture(240).inputs, outputs=("embedding",)))
    np.testing.assert_array_equal(first["embedding"], before)


async def test_threads_at_once_each_get_their_own_answer(engine, attached):
    expected = {value: await engine.infer(picture(value)) for value in range(0, 250, 10)}
    failures = []

    def ask(thread):
        try:
            for turn in range(30):
                value = 10 * ((turn + thread * 7) % 25)
                same(expected[value], attached.infer_now(picture(value)))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert failures == []


@pytest.mark.parametrize(
    ("error", "request_"),
    [
        (ModelNotFoundError, picture(model="absent")),
        (ModelNotFoundError, Request("colours", picture().inputs, version=9)),
        (InvalidRequestError, Request("colours", {"picture": picture().inputs["image"]})),
        (InvalidRequestError, Request("colours", {"image": np.zeros((1, 7, 8, 3), np.uint8)})),
        (InvalidRequestError, Request("colours", picture().inputs, outputs=("absent",))),
    ],
)
async def test_errors_arrive_as_themselves(engine, attached, error, request_):
    with pytest.raises(error) as told:
        await engine.infer(request_)
    for ask in (attached.infer, lambda it: asyncio.to_thread(attached.infer_now, it)):
        with pytest.raises(error) as told_here:
            await ask(request_)
        assert type(told_here.value) is type(told.value)
        assert str(told_here.value) == str(told.value)


@pytest.mark.parametrize(("model", "version"), [("absent", 0), ("absent", 2), ("colours", 7)])
async def test_what_it_does_not_know_it_says_in_the_engines_words(engine, attached, model, version):
    for name in ("config", "pbtxt", "card", "max_rows"):
        with pytest.raises(ModelNotFoundError) as told:
            getattr(engine, name)(model, version)
        with pytest.raises(ModelNotFoundError) as told_here:
            getattr(attached, name)(model, version)
        assert str(told_here.value) == str(told.value)


async def test_a_model_is_unloaded_and_loaded_through_one_and_seen_by_all(
    engine, host, folder, attached, loaded
):
    other = AttachedEngine(folder, name="embedded")
    await other.start()
    try:
        await attached.unload("tags")
        assert [one.state for one in attached.models() if one.name == "tags"] == [State.ABSENT]
        with pytest.raises(UnavailableError) as told:
            engine.config("tags")
        with pytest.raises(UnavailableError, match=str(told.value)):
            attached.config("tags")
        await until(lambda: other.models() == engine.models())
        with pytest.raises(UnavailableError):
            await other.infer(picture(model="tags"))
        await other.load("tags")
        assert other.config("tags").name == "tags"
        await until(lambda: attached.models() == engine.models())
        await attached.infer(picture(model="tags"))
        assert loaded == [("tags", None), ("tags", ("", None))]
    finally:
        await other.close()


async def test_statistics_are_those_of_the_engine(engine, attached):
    for value in (1, 2, 3):
        await attached.infer(picture(value, rows=2))
    (found,) = await attached.statistics("colours")
    assert (found.success.count, found.inference_count) == (3, 6)
    assert found == (await engine.statistics("colours"))[0]
    await until(lambda: attached.counted() == engine.counted())
    with pytest.raises(ModelNotFoundError):
        await attached.statistics("absent")


async def test_a_caller_that_is_cancelled_leaves_the_queue(engine, attached):
    await attached.load("colours", slow_queue(engine))
    first = asyncio.create_task(attached.infer(picture(5)))
    await until(lambda: engine.counted()[0].pending == 1)
    second = asyncio.create_task(attached.infer(picture()))
    await until(lambda: engine.counted()[0].pending == 2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await until(lambda: engine.counted()[0].failures[Failure.CANCELED] == 1)
    await attached.infer(picture(rows=FULL - 1))
    await first


async def test_a_client_that_left_takes_its_request_out_of_the_queue(engine, attached):
    await attached.load("colours", slow_queue(engine))
    first = asyncio.create_task(attached.infer(picture(5)))
    await until(lambda: engine.counted()[0].pending == 1)
    left = []
    second = asyncio.create_task(asyncio.to_thread(attached.infer_now, picture(), left.append))
    await until(lambda: engine.counted()[0].pending == 2)
    left[0]()
    with pytest.raises(CancelledError, match="left"):
        await second
    await attached.infer(picture(rows=FULL - 1))
    await first


async def test_a_deadline_is_kept_and_leaves_nothing_behind(engine, attached):
    await attached.load("colours", slow_queue(engine))
    request = Request("colours", picture().inputs, timeout_s=0.1)
    for ask in (attached.infer, lambda it: asyncio.to_thread(attached.infer_now, it)):
        with pytest.raises(DeadlineError):
            await ask(request)
    await attached.load("colours")
    same(await engine.infer(picture(5)), await attached.infer(picture(5)))


async def test_more_than_may_wait_is_refused(host, folder, engine):
    attached = AttachedEngine(folder, name="embedded", threads=1, max_waiting=1)
    await attached.start()
    await attached.load("colours", slow_queue(engine, delay_s=1))
    tasks = [asyncio.create_task(attached.infer(picture())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await attached.infer(picture())
    await asyncio.gather(*tasks)
    await attached.infer(picture())
    await attached.close()


async def test_an_engine_that_is_gone_is_failed_at_once_and_found_again(engine, folder):
    host = EngineHost(engine, folder, lambda *_: None)
    attached = AttachedEngine(folder, name="embedded")
    await attached.start()
    before = await attached.infer(picture(7))
    started_s = time.monotonic()
    await asyncio.to_thread(host.close)
    await until(lambda: {one.state for one in attached.models()} == {State.FAILED})
    assert time.monotonic() - started_s < 1.0
    for call in (attached.infer(picture(7)), attached.statistics(), attached.load("colours")):
        with pytest.raises(UnavailableError):
            await call
    with pytest.raises(UnavailableError, match="gone"):
        attached.config("colours")
    with pytest.raises(ModelNotFoundError):
        attached.config("absent")
    again = EngineHost(engine, folder, lambda *_: None)
    await until(lambda: {one.state for one in attached.models()} == {State.READY})
    same(before, await attached.infer(picture(7)))
    await attached.close()
    await asyncio.to_thread(again.close)


async def test_an_engine_that_came_back_unnoticed_costs_no_request(engine, folder):
    host = EngineHost(engine, folder, lambda *_: None)
    attached = AttachedEngine(folder, name="embedded")
    await attached.start()
    await asyncio.gather(*(attached.infer(picture(value)) for value in range(4)))
    host.close()
    again = EngineHost(engine, folder, lambda *_: None)
    for value in range(4):
        await attached.infer(picture(value))
    await attached.close()
    await asyncio.to_thread(again.close)


async def test_large_batches_pass(attached):
    rows = np.arange(32, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    whole = await attached.infer(Request("colours", {"image": rows}))
    assert whole["embedding"].shape == (32, 4)


async def test_closing_gives_everything_back(engine, folder):
    def opened():
        names = ("infer", "control", "mirror", "ledger", "attached")
        mine = [one for one in threading.enumerate() if one.name.startswith(names)]
        return len(os.listdir("/proc/self/fd")) + len(mine)

    async def round_trip():
        host = EngineHost(engine, folder, lambda *_: None)
        attached = AttachedEngine(folder, name="embedded")
        await attached.start()
        await asyncio.gather(*(attached.infer(picture(value)) for value in range(6)))
        await attached.close()
        await asyncio.to_thread(host.close)

    await round_trip()
    await asyncio.sleep(0.1)
    before = opened()
    for _ in range(5):
        await round_trip()
    await until(lambda: opened() <= before)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "trace", "key"),
    [
        (Request("a", {}), {}, (1, 0)),
        (
            Request("modèle", {}, ("x", "y"), 3, 1.5, 2, 0.25),
            {"traceparent": "00-1-2-01", "tracestate": "a=b,c=d"},
            (2**63 - 1, 9),
        ),
        (Request("a", {}, ("only",), timeout_s=0.0), {"traceparent": ""}, (0, 1)),
    ],
)
def test_a_request_travels_whole(request_, trace, key):
    asked = unpack(pack(request_, trace, key), {})
    assert (asked.request, dict(asked.trace), asked.key) == (
        Request(**{**_fields(request_), "outputs": list(request_.outputs)}),
        trace,
        key,
    )


def _fields(request):
    return {name: getattr(request, name) for name in Request.__slots__}
