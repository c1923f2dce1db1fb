"""Models that Triton calls ready and that do not answer."""

import asyncio
import threading

import grpc
import numpy as np
import pytest

from kokeshi.engines.protocol import Request, State
from kokeshi.engines.triton import watch as watching
from kokeshi.errors import (
    InferenceError,
    UnavailableError,
)

PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)
RED = Request("colours", {"image": PIXELS})


async def test_a_dead_process_turns_its_model_red_at_once_and_a_probe_turns_it_green(lab):
    server = lab.serve()

    def dead(request, context):
        if request.model_name == "colours":
            context.abort(grpc.StatusCode.INTERNAL, "Stub process 'c_0_0' is not healthy.")

    engine = await lab.connect(server)
    server.infer = dead
    with pytest.raises(UnavailableError, match="the process that ran it died"):
        await engine.infer(RED)
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED, within_s=0.2)
    assert lab.status(engine, "tags").state is State.READY
    await engine.infer(Request("tags", {"image": PIXELS}))
    with pytest.raises(UnavailableError, match="the process that runs it died"):
        await engine.infer(RED)
    await asyncio.sleep(0.5)
    assert lab.status(engine, "colours").state is State.FAILED
    server.infer = lambda request, context: None
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY)
    probe = next(it for it in reversed(server.asked) if it.model_name == "colours")
    assert list(probe.inputs[0].shape) == [1, 8, 8, 3]
    assert not any(probe.raw_input_contents[0])


async def test_requests_that_fail_do_not_fail_a_model_whose_probe_is_answered(lab):
    server = lab.serve()

    def picky(request, context):
        if any(request.raw_input_contents[0]):
            context.abort(grpc.StatusCode.INTERNAL, "I take zeros alone")

    server.infer = picky
    engine = await lab.connect(server)
    for _ in range(6):
        with pytest.raises(InferenceError, match="model 'colours' failed to run"):
            await engine.infer(RED)
    await asyncio.sleep(0.5)
    assert lab.status(engine, "colours").state is State.READY


async def test_a_model_that_always_fails_is_red_until_one_request_is_answered(lab):
    server = lab.serve()
    server.infer = lab.refuse(grpc.StatusCode.INTERNAL, "cannot")
    engine = await lab.connect(server)
    for _ in range(3):
        with pytest.raises(InferenceError):
            await engine.infer(RED)
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED)
    assert lab.status(engine, "colours").reason == "it fails: cannot"

    def only_real(request, context):
        if not any(request.raw_input_contents[0]):
            context.abort(grpc.StatusCode.INTERNAL, "I do not take zeros")

    server.infer = only_real
    answered = 0
    for _ in range(30):
        try:
            await engine.infer(RED)
            answered += 1
        except UnavailableError:
            await asyncio.sleep(0.05)
    assert answered
    assert lab.status(engine, "colours").state is State.READY


async def test_silence_turns_a_model_red_and_its_answer_turns_it_green(lab, monkeypatch):
    monkeypatch.setattr(watching, "PROBE_TIMEOUT_S", 0.3)
    server = lab.serve()
    go_on = threading.Event()
    server.infer = lambda request, context: request.model_name == "colours" and go_on.wait(10)
    engine = await lab.connect(server, silence_timeout_s=0.5)
    asking = asyncio.create_task(engine.infer(RED))
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED, within_s=3)
    assert "no answer for" in lab.status(engine, "colours").reason
    assert lab.status(engine, "tags").state is State.READY
    go_on.set()
    await asking
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY)


async def test_what_a_supervisor_knows_to_have_fallen_is_red_and_not_asked(lab):
    server, fallen = lab.serve(), {}
    engine = await lab.connect(server, fallen=lambda: fallen)
    fallen["colours"] = "its process was killed by SIGKILL"
    engine.refresh()
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED, within_s=0.2)
    with pytest.raises(UnavailableError, match="SIGKILL"):
        await engine.infer(RED)
    assert not server.asked
    fallen.clear()
    engine.refresh()
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY, within_s=0.2)
