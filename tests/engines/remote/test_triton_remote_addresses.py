"""Several servers behind one engine."""

import asyncio
import json
import time
from collections import Counter

import grpc
import numpy as np
import pytest

from kokeshi.engines.protocol import Request, State
from kokeshi.errors import (
    OverloadedError,
)

PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)
RED = Request("colours", {"image": PIXELS})


async def test_the_address_with_the_fewest_requests_under_way_is_asked(lab):
    fast, slow = lab.serve(value=1), lab.serve(value=2)
    slow.infer = lambda request, context: time.sleep(0.2)
    engine = await lab.connect(fast, slow)

    async def client():
        return [(await engine.infer(RED))["embedding"][0, 0] for _ in range(10)]

    told = Counter(it for answers in await asyncio.gather(client(), client()) for it in answers)
    assert told[1.0] > 2 * told[2.0] > 0


async def test_equal_addresses_are_asked_in_turn(lab):
    servers = [lab.serve(), lab.serve()]
    engine = await lab.connect(*servers)
    for _ in range(10):
        await engine.infer(RED)
    assert [len(it.asked) for it in servers] == [5, 5]


async def test_no_request_fails_when_one_of_two_servers_dies(lab):
    servers = [lab.serve(value=1), lab.serve(value=2)]
    engine = await lab.connect(*servers)
    done, stop = Counter(), asyncio.Event()

    async def client(now):
        while not stop.is_set():
            answer = await (asyncio.to_thread(engine.infer_now, RED) if now else engine.infer(RED))
            done[float(answer["embedding"][0, 0])] += 1

    clients = [asyncio.create_task(client(now)) for now in (False, False, True)]
    await lab.until(lambda: done[1.0] > 20 and done[2.0] > 20, within_s=10)
    servers[0].stop()
    await lab.until(lambda: lab.status(engine, "colours").state is State.DEGRADED)
    assert "1 of 2 addresses do not answer it" in lab.status(engine, "colours").reason
    before = done[2.0]
    await lab.until(lambda: done[2.0] > before + 50, within_s=10)
    servers[0].start()
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY, within_s=5)
    before = done[1.0]
    await lab.until(lambda: done[1.0] > before + 20, within_s=10)
    stop.set()
    await asyncio.gather(*clients)


async def test_a_full_queue_is_tried_once_elsewhere(lab):
    full, free = lab.serve(), lab.serve(value=2)
    full.infer = lab.refuse(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    engine = await lab.connect(full, free)
    for _ in range(6):
        assert (await engine.infer(RED))["embedding"][0, 0] == 2
    free.infer = full.infer
    with pytest.raises(OverloadedError) as raised:
        await engine.infer(RED)
    assert 0.1 <= raised.value.retry_after_s <= 10
    assert len(full.asked) + len(free.asked) <= 2 * 7


async def test_addresses_with_different_models_of_one_name_are_not_mixed(lab):
    first, second = lab.serve(value=1), lab.serve(value=2)
    parameter = second.configs["colours", 1].parameters["kokeshi"]
    digest = first.configs["colours", 1].parameters["kokeshi"].string_value
    card = json.loads(digest) | {"model_sha256": "0" * 64}
    parameter.string_value = json.dumps(card)
    engine = await lab.connect(first, second)
    assert lab.status(engine, "colours").state is State.DEGRADED
    assert "another model under this name" in lab.status(engine, "colours").reason
    assert {(await engine.infer(RED))["embedding"][0, 0] for _ in range(4)} == {1.0}
