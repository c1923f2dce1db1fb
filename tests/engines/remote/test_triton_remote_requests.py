"""Requests to stand-ins of Triton: what is sent, what comes back, what is refused."""

import asyncio
import shutil
import threading
import time
from hashlib import sha256
from pathlib import Path

import grpc
import numpy as np
import pytest

from kokeshi.engines.config import parse_message
from kokeshi.engines.protocol import Request, State
from kokeshi.engines.triton.remote import TritonEngine
from kokeshi.errors import (
    DeadlineError,
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    SetupError,
    UnavailableError,
)
from kokeshi.trace import TRACE

PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)
RED = Request("colours", {"image": PIXELS})


async def test_models_answer_with_what_their_configuration_says(lab, tiny_repository):
    engine = await lab.connect(lab.serve("colours", "regions", value=3))
    assert [it.name for it in engine.models()] == ["colours", "regions"]
    assert {it.state for it in engine.models()} == {State.READY}
    assert engine.card("colours").labels == ("red", "green", "blue")
    assert engine.config("colours").max_batch_size == engine.max_rows("colours") == 32
    assert parse_message(engine.pbtxt("colours")).name == "colours"
    assert (engine.name, engine.path()) == ("triton", "grpc")
    assert list(engine.providers()) == ["Triton 0.1"]
    assert engine.troubles() == {}
    answer = await engine.infer(RED)
    assert {name: it.shape for name, it in answer.items()} == {
        "probabilities": (2, 3),
        "embedding": (2, 4),
    }
    now = await asyncio.to_thread(
        engine.infer_now, Request("regions", {"image": PIXELS}, outputs=["label_map"])
    )
    assert now["label_map"].dtype == np.uint8
    assert (now["label_map"] == 3).all()


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (Request("none", {}), ModelNotFoundError, "no model named 'none'"),
        (Request("colours", {}, version=9), ModelNotFoundError, "'colours' with version 9"),
        (Request("colours", {}), InvalidRequestError, "takes the input 'image'"),
        (Request("colours", {"image": PIXELS[:, :4]}), InvalidRequestError, r"not uint8 \(2, 4"),
        (Request("colours", {"image": PIXELS}, outputs=["x"]), InvalidRequestError, "not 'x'"),
        (
            Request("colours", {"image": np.zeros((33, 8, 8, 3), np.uint8)}),
            InvalidRequestError,
            "takes 1 to 32 rows at once, not 33",
        ),
    ],
)
async def test_what_can_never_be_right_is_not_sent(lab, request_, error, message):
    server = lab.serve()
    engine = await lab.connect(server)
    with pytest.raises(error, match=message):
        await engine.infer(request_)
    with pytest.raises(error, match=message):
        await asyncio.to_thread(engine.infer_now, request_)
    assert not server.asked


async def test_priority_timeout_headers_and_trace_travel_with_a_request(lab):
    server = lab.serve()
    engine = await lab.connect(server, headers={"Authorization": "Bearer secret"})
    TRACE.set({"traceparent": "00-1-2-01"})
    await engine.infer(
        Request("colours", {"image": PIXELS}, priority=2, queue_timeout_s=0.25, timeout_s=5)
    )
    (asked,) = server.asked
    assert asked.parameters["priority"].uint64_param == 2
    assert asked.parameters["timeout"].int64_param == 250_000
    assert (asked.model_version, list(asked.inputs[0].shape)) == ("1", [2, 8, 8, 3])
    last = server.metadata[-1]
    assert last["traceparent"] == "00-1-2-01"
    assert all(it["authorization"] == "Bearer secret" for it in server.metadata)


async def test_a_deadline_goes_along_and_what_passes_it_is_told_so(lab):
    server = lab.serve()
    left_s = []

    def slow(request, context):
        left_s.append(context.time_remaining())
        time.sleep(0.5)

    server.infer = slow
    engine = await lab.connect(server)
    late = Request("colours", {"image": PIXELS}, timeout_s=0.2)
    with pytest.raises(DeadlineError, match="'colours' did not answer in time"):
        await engine.infer(late)
    with pytest.raises(DeadlineError):
        await asyncio.to_thread(engine.infer_now, late)
    assert all(it < 0.25 for it in left_s)  # without one it is huge


async def test_a_caller_who_leaves_takes_the_request_along(lab):
    server = lab.serve()
    go_on = threading.Event()
    server.infer = lambda request, context: go_on.wait(5)
    engine = await lab.connect(server)
    asking = asyncio.create_task(engine.infer(RED))
    await lab.until(lambda: server.asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await lab.until(server.cancelled.is_set)
    go_on.set()


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (grpc.StatusCode.INTERNAL, "a path: /srv/x", InferenceError),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", OverloadedError),
        (grpc.StatusCode.UNAVAILABLE, "Request timeout expired", DeadlineError),
        (grpc.StatusCode.NOT_FOUND, "unknown model", ModelNotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, "bad", InvalidRequestError),
    ],
)
async def test_statuses_become_errors_on_both_ways(lab, code, details, error):
    server = lab.serve()
    server.infer = lab.refuse(code, details)
    engine = await lab.connect(server)
    with pytest.raises(error):
        await engine.infer(RED)
    with pytest.raises(error) as raised:
        await asyncio.to_thread(engine.infer_now, RED)
    assert "/srv" not in str(raised.value)


async def test_more_requests_than_may_be_under_way_are_refused(lab):
    server = lab.serve()
    go_on = threading.Event()
    server.infer = lambda request, context: go_on.wait(5)
    engine = await lab.connect(server, max_in_flight=2)
    asking = [asyncio.create_task(engine.infer(RED)) for _ in range(2)]
    await lab.until(lambda: len(server.asked) == 2)
    with pytest.raises(OverloadedError, match="2 requests are under way"):
        await engine.infer(RED)
    go_on.set()
    await asyncio.gather(*asking)
    await engine.infer(RED)


async def test_a_version_that_was_swapped_since_the_last_look_is_asked_by_no_number(
    lab, tiny_repository
):
    server = lab.serve("colours")
    engine = await lab.connect(server, watch_s=30)
    del server.configs["colours", 1]
    server.configs["colours", 2] = parse_message(
        (tiny_repository / "colours" / "config.pbtxt").read_text()
    )
    await engine.infer(RED)
    assert [it.model_version for it in server.asked] == ["1", ""]
    with pytest.raises(ModelNotFoundError):
        await engine.infer(Request("colours", {"image": PIXELS}, version=1))


async def test_a_tokeniser_comes_from_the_copy_and_must_be_the_models(
    lab, tiny_repository, tmp_path
):
    server = lab.serve("pair.image", "pair.text")
    bare = await lab.connect(server)
    with pytest.raises(UnavailableError, match="there is no copy of it"):
        bare.file("pair.text", "tokenizer.json")
    copy = Path(shutil.copytree(tiny_repository, tmp_path / "copy"))
    engine = await lab.connect(server, files=copy)
    wanted = engine.card("pair.text").input.tokenizer_sha256
    assert sha256(engine.file("pair.text", "tokenizer.json")).hexdigest() == wanted
    with pytest.raises(UnavailableError, match="has no file 'passwd'"):
        engine.file("pair.text", "../../../etc/passwd")
    (copy / "pair.text" / "tokenizer.json").write_text("{}")
    with pytest.raises(UnavailableError, match="was exported with another"):
        engine.file("pair.text", "tokenizer.json")


async def test_closing_answers_what_is_under_way_and_refuses_what_comes(lab):
    server = lab.serve()
    server.infer = lambda request, context: time.sleep(0.3)
    engine = TritonEngine([server.address], shared_memory=False)
    await engine.start()
    asking = asyncio.create_task(engine.infer(RED))
    await lab.until(lambda: server.asked)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.05)
    with pytest.raises(UnavailableError, match="the server is stopping"):
        await engine.infer(RED)
    assert set(await asking) == {"probabilities", "embedding"}
    await closing


def test_an_engine_needs_an_address():
    with pytest.raises(SetupError, match="needs the address"):
        TritonEngine([])
