"""Batching by Triton's rules, with a graph that says how many rows it was given."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi import metrics
from kokeshi.engines.policy import Policy
from kokeshi.engines.scheduler import Scheduler
from kokeshi.errors import DeadlineError, InferenceError, OverloadedError, UnavailableError


class Doubler:
    """Doubles its rows; holds every batch until `gate` opens, and remembers batch sizes."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs):
        self.gate.wait(5)
        (rows,) = inputs.values()
        self.batches.append(len(rows))
        if (rows < 0).any():
            raise ValueError("a secret of the graph")
        return {"y": rows * 2}


@pytest.fixture
def doubler():
    return Doubler()


@pytest.fixture
async def make(doubler):
    schedulers = []
    with ThreadPoolExecutor(4) as executor:

        def scheduler(**policy):
            made = Scheduler("doubler", 1, doubler, Policy(**policy), executor)
            made.start()
            schedulers.append(made)
            return made

        yield scheduler
        doubler.gate.set()
        for made in schedulers:
            await made.close()


def _rows(*values):
    return {"x": np.array(values, np.float32)}


async def _ask(scheduler, *values, **limits):
    answer = await scheduler.submit(_rows(*values), len(values), **limits)
    return answer["y"].tolist()


async def _queue(scheduler, doubler, count, rows=1):
    """Asks `count` times while the first batch is held, so that the rest wait together."""
    doubler.gate.clear()
    first = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    rest = [asyncio.create_task(_ask(scheduler, *[float(i)] * rows)) for i in range(count)]
    await asyncio.sleep(0.05)
    doubler.gate.set()
    await first
    return await asyncio.gather(*rest)


async def test_each_request_gets_its_own_rows_back(make, doubler):
    answers = await _queue(make(max_rows=8, merge=True), doubler, 20)
    assert answers == [[2.0 * i] for i in range(20)]


async def test_waiting_requests_are_merged_up_to_the_batch_size(make, doubler):
    await _queue(make(max_rows=8, merge=True), doubler, 20)
    assert doubler.batches == [1, 8, 8, 4]


async def test_without_dynamic_batching_each_request_runs_alone(make, doubler):
    await _queue(make(max_rows=8), doubler, 3, rows=2)
    assert doubler.batches == [1, 2, 2, 2]


async def test_a_request_is_never_split(make, doubler):
    await _queue(make(max_rows=8, merge=True), doubler, 3, rows=3)
    assert doubler.batches == [1, 6, 3]


async def test_preferred_sizes_are_taken_where_the_queue_holds_one(make, doubler):
    await _queue(make(max_rows=8, merge=True, preferred_rows=(4,)), doubler, 6)
    assert doubler.batches == [1, 4, 2]


async def test_a_queue_delay_gathers_requests_that_come_apart(make, doubler):
    scheduler = make(max_rows=4, merge=True, max_queue_delay_s=0.5)
    tasks = []
    for value in range(4):
        tasks.append(asyncio.create_task(_ask(scheduler, float(value))))
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    assert doubler.batches == [4]


async def test_a_queue_delay_ends(make, doubler):
    scheduler = make(max_rows=4, merge=True, max_queue_delay_s=0.05)
    assert await asyncio.wait_for(_ask(scheduler, 1.0), 2) == [2.0]


async def test_a_full_queue_refuses_and_counts_it(make, doubler):
    scheduler = make(max_rows=1, merge=True, max_queue_requests=2)
    counter = metrics.REFUSED.labels("doubler", "queue_full")
    before = counter._value.get()
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(_ask(scheduler, 1.0)) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(OverloadedError) as refusal:
        await _ask(scheduler, 1.0)
    assert refusal.value.retry_after_s > 0
    assert counter._value.get() == before + 1
    doubler.gate.set()
    assert await asyncio.gather(running, *waiting) == [[0.0], [2.0], [2.0]]


async def test_a_request_whose_deadline_passed_in_the_queue_is_not_run(make, doubler):
    scheduler = make(max_rows=1, merge=True)
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    with pytest.raises(DeadlineError):
        await _ask(scheduler, 1.0, timeout_s=0.05)
    doubler.gate.set()
    await running
    await _ask(scheduler, 2.0)
    assert doubler.batches == [1, 1]


async def test_a_client_that_left_is_not_served(make, doubler):
    scheduler = make(max_rows=1, merge=True)
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    gone = asyncio.create_task(_ask(scheduler, 1.0))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    doubler.gate.set()
    await running
    await _ask(scheduler, 2.0)
    assert doubler.batches == [1, 1]


async def test_a_failing_graph_is_an_error_that_keeps_its_secret(make, doubler, caplog):
    scheduler = make(max_rows=8, merge=True)
    with pytest.raises(InferenceError) as failure:
        await _ask(scheduler, -1.0)
    assert "secret" not in str(failure.value)
    assert "secret" in caplog.text
    assert await _ask(scheduler, 1.0) == [2.0]


async def test_a_request_that_fails_its_batch_fails_no_other(make, doubler, caplog):
    scheduler = make(max_rows=8, merge=True)
    doubler.gate.clear()
    first = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    rest = [asyncio.create_task(_ask(scheduler, value)) for value in (1.0, -1.0, 2.0)]
    await asyncio.sleep(0.05)
    doubler.gate.set()
    await first
    answers = asyncio.gather(*rest, return_exceptions=True)
    good, bad, other = await asyncio.wait_for(answers, 5)
    assert (good, other) == ([2.0], [4.0])
    assert isinstance(bad, InferenceError)
    assert doubler.batches == [1, 3, 1, 1, 1]
    assert "secret" in caplog.text


async def test_requests_that_were_given_up_hold_no_place_in_the_queue(make, doubler):
    scheduler = make(max_rows=1, merge=True, max_queue_requests=2)
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    gone = [asyncio.create_task(_ask(scheduler, 1.0, timeout_s=0.01)) for _ in range(2)]
    for answer in await asyncio.gather(*gone, return_exceptions=True):
        assert isinstance(answer, DeadlineError)
    waiting = [asyncio.create_task(_ask(scheduler, 2.0)) for _ in range(2)]
    await asyncio.sleep(0.05)
    doubler.gate.set()
    assert await asyncio.gather(running, *waiting) == [[0.0], [4.0], [4.0]]


async def test_a_deadline_of_no_time_at_all_is_not_taken_for_none(make, doubler):
    doubler.gate.clear()
    with pytest.raises(DeadlineError):
        await asyncio.wait_for(_ask(make(max_rows=1), 1.0, timeout_s=0.0), 2)


async def test_versions_of_a_model_share_the_gauge_of_waiting_requests(make, doubler):
    def gauge():
        return metrics.REGISTRY.get_sample_value("kokeshi_queue_requests", {"model": "doubler"})

    versions = [make(max_rows=1, merge=True) for _ in range(2)]
    doubler.gate.clear()
    tasks = [asyncio.create_task(_ask(each, 1.0)) for each in versions for _ in range(3)]
    await asyncio.sleep(0.05)
    assert gauge() == 4
    tasks.pop().cancel()
    await asyncio.sleep(0.05)
    assert gauge() == 3
    doubler.gate.set()
    await asyncio.gather(*tasks)
    assert gauge() == 0


async def test_instances_run_batches_at_once(make, doubler):
    scheduler = make(max_rows=1, merge=True, instances=2)
    doubler.gate.clear()
    tasks = [asyncio.create_task(_ask(scheduler, float(i))) for i in range(2)]
    await asyncio.sleep(0.05)
    assert scheduler.pending == 0
    doubler.gate.set()
    assert await asyncio.gather(*tasks) == [[0.0], [2.0]]


async def test_closing_answers_what_waits_and_refuses_what_comes(make, doubler):
    scheduler = make(max_rows=1, merge=True)
    doubler.gate.clear()
    waiting = [asyncio.create_task(_ask(scheduler, float(i))) for i in range(3)]
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(scheduler.close())
    await asyncio.sleep(0.05)
    with pytest.raises(UnavailableError, match="unloaded"):
        await _ask(scheduler, 1.0)
    assert not closing.done()
    doubler.gate.set()
    await closing
    assert [task.result() for task in waiting] == [[0.0], [2.0], [4.0]]


async def test_closing_gives_up_when_its_time_is_over(make, doubler, caplog):
    scheduler = make(max_rows=1, merge=True)
    doubler.gate.clear()
    running, waiting = (asyncio.create_task(_ask(scheduler, 1.0)) for _ in range(2))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(scheduler.close(drain_timeout_s=0.05), 2)
    assert "still ran" in caplog.text
    with pytest.raises(UnavailableError, match="unloaded"):
        await waiting
    doubler.gate.set()
    assert await running == [2.0]


async def test_closing_without_draining_refuses_what_waits(make, doubler):
    scheduler = make(max_rows=1, merge=True)
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 0.0))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(_ask(scheduler, 1.0))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(scheduler.close(drain=False))
    await asyncio.sleep(0.05)
    doubler.gate.set()
    await closing
    assert await running == [0.0]
    for attempt in (waiting, _ask(scheduler, 1.0)):
        with pytest.raises(UnavailableError, match="unloaded"):
            await attempt


async def test_the_event_loop_stays_free_while_a_batch_runs(make, doubler):
    scheduler = make(max_rows=1)
    doubler.gate.clear()
    running = asyncio.create_task(_ask(scheduler, 1.0))
    ticks = 0
    for _ in range(10):
        await asyncio.sleep(0.001)
        ticks += 1
    doubler.gate.set()
    assert ticks == 10
    assert await running == [2.0]
