"""Whatever comes together, everybody has one answer, their own, and the books add up."""

import asyncio
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi.engines.policy import Policy, QueueRules
from kokeshi.engines.scheduler import Scheduler
from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)

THREADS = 8
TASKS = 24
CALLERS = 2  # threads that ask with callbacks, several at once
AT_ONCE = 8  # of each of those
REQUESTS = 40  # of each thread, task, and of what a caller has under way at once
REFUSALS = (CancelledError, DeadlineError, InferenceError, OverloadedError, UnavailableError)

POLICIES = {
    "alone": Policy(max_rows=8, max_queue_requests=12),
    "merged": Policy(max_rows=8, merge=True),
    "preferred": Policy(max_rows=8, merge=True, preferred_rows=(4, 6), instances=2),
    "gathered": Policy(max_rows=8, merge=True, max_queue_delay_s=0.002, instances=2),
    "in order": Policy(max_rows=8, merge=True, preserve_ordering=True),
    "by priority": Policy(
        max_rows=8,
        merge=True,
        priority_levels=4,
        default_level=3,
        rules=QueueRules(allow_override=True, timeout_s=0.05),
        rules_by_level={
            1: QueueRules(max_requests=4),
            2: QueueRules(timeout_s=0.003, delay=True, allow_override=True),
        },
        max_queue_requests=10,
        instances=3,
    ),
}


class Graph:
    """Turns a row (number, kind, 0 ...) into a thousand times its number.

    Rows of kind 1 fail; one of kind 2 says that what runs the graph has died.
    """

    def __init__(self):
        self.wrong = []
        self.ran = []

    def __call__(self, inputs):
        rows = inputs["x"]
        self.ran.append(len(rows))
        if len(rows) > 8:
            self.wrong.append(f"a batch of {len(rows)}")
        time.sleep(random.random() * 0.002)
        if (rows[:, 1] == 2).any():
            raise UnavailableError("died")
        if (rows[:, 1] == 1).any():
            raise ValueError("failed")
        return {"y": rows[:, :1] * 1000, "again": rows}


class Storm:
    """Asks, and checks each answer against its question."""

    def __init__(self, scheduler, seed):
        self.scheduler = scheduler
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        self.numbers = iter(range(1, 1 << 24))
        self.outcomes = []
        self.wrong = []

    def question(self):
        with self.lock:
            dice = self.dice
            rows = np.zeros((dice.randint(1, 4), dice.choice((2, 2, 3))), np.float32)
            rows[:, 0] = [next(self.numbers) for _ in rows]
            rows[:, 1] = dice.choices((0, 1, 2), (40, 2, 1))[0]
            limits = {
                "timeout_s": dice.choice((None, None, 0.001, 0.01, 0.0, 5.0)),
                "priority": dice.randint(0, 5),
                "queue_timeout_s": dice.choice((None, 0.002, 1.0)),
            }
            leaves_s = dice.choice((None, None, None, 0.0, 0.002))
        return rows, limits, leaves_s

    def check(self, rows, answer):
        right = (answer["y"][:, 0] == rows[:, 0] * 1000).all() and (answer["again"] == rows).all()
        if not right or len(answer["y"]) != len(rows) or rows[0, 1]:
            self.wrong.append((rows, answer))

    def ask_now(self):
        rows, limits, leaves_s = self.question()
        timers = []

        def watch(leave):
            if leaves_s is not None:
                timers.append(threading.Timer(leaves_s, leave))
                timers[0].start()

        try:
            self.check(
                rows, self.scheduler.submit_now({"x": rows}, len(rows), watch=watch, **limits)
            )
            self.outcomes.append("answered")
        except REFUSALS as error:
            self.outcomes.append(type(error).__name__)
        for timer in timers:
            timer.join()

    def ask_soon(self, told):
        """Asks, and has `told` called when the answer was checked."""
        rows, limits, leaves_s = self.question()
        timers = []

        def done(answer):
            for timer in timers:
                timer.cancel()
            if isinstance(answer, Exception):
                self.outcomes.append(type(answer).__name__)
                if not isinstance(answer, REFUSALS):
                    self.wrong.append(answer)
            else:
                self.check(rows, answer)
                self.outcomes.append("answered")
            told()

        def watch(leave):
            if leaves_s is not None:
                timers.append(threading.Timer(leaves_s, leave))
                timers[0].start()

        try:
            self.scheduler.submit_soon({"x": rows}, len(rows), done, watch=watch, **limits)
        except REFUSALS as error:
            done(error)

    async def ask(self):
        rows, limits, leaves_s = self.question()
        asked = asyncio.ensure_future(self.scheduler.submit({"x": rows}, len(rows), **limits))
        if leaves_s is not None:
            await asyncio.sleep(leaves_s)
            asked.cancel()
        try:
            self.check(rows, await asked)
            self.outcomes.append("answered")
        except REFUSALS as error:
            self.outcomes.append(type(error).__name__)
        except asyncio.CancelledError:
            self.outcomes.append("cancelled")


def _block(storm):
    for _ in range(REQUESTS):
        storm.ask_now()


def _call(storm):
    places = threading.Semaphore(AT_ONCE)
    for _ in range(REQUESTS * AT_ONCE):
        assert places.acquire(timeout=10)
        storm.ask_soon(places.release)
    for _ in range(AT_ONCE):
        assert places.acquire(timeout=10)


async def _await(storm):
    for _ in range(REQUESTS):
        await storm.ask()
        await asyncio.sleep(0)


async def _unleash(storm):
    threads = [threading.Thread(target=_block, args=(storm,)) for _ in range(THREADS)]
    threads += [threading.Thread(target=_call, args=(storm,)) for _ in range(CALLERS)]
    for each in threads:
        each.start()
    async with asyncio.timeout(30):
        await asyncio.gather(*(_await(storm) for _ in range(TASKS)))
        while any(each.is_alive() for each in threads):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", POLICIES)
async def test_everybody_has_one_answer_and_the_books_add_up(name, caplog):
    caplog.set_level(logging.CRITICAL)
    graph, policy = Graph(), POLICIES[name]
    with ThreadPoolExecutor(2 * policy.instances) as executor:
        scheduler = Scheduler("storm", 1, graph, policy, executor)
        scheduler.start()
        storm = Storm(scheduler, seed=name)
        await _unleash(storm)
        counted = scheduler.statistics()
        await asyncio.wait_for(scheduler.close(), 5)
    asked = (THREADS + TASKS + CALLERS * AT_ONCE) * REQUESTS
    assert not storm.wrong
    assert not graph.wrong
    assert len(storm.outcomes) == asked
    # A task that is never begun, for it was cancelled at once, asks nothing.
    assert asked - storm.outcomes.count("cancelled") <= counted.success.count + counted.fail.count
    assert counted.success.count + counted.fail.count <= asked
    assert counted.fail.count == sum(counted.failures.values())
    # Who leaves as the answer comes may have it counted, and never see it.
    missed = counted.success.count - storm.outcomes.count("answered")
    assert 0 <= missed <= storm.outcomes.count("cancelled")
    assert counted.queue.count == counted.compute_infer.count == counted.success.count
    executed = sum(batch.compute_infer.count for batch in counted.batches.values())
    assert executed == counted.execution_count
    assert counted.inference_count <= sum(graph.ran)
    assert counted.pending == scheduler.pending == 0
    assert storm.outcomes.count("answered") > asked / 40
    assert len(set(storm.outcomes)) >= 5, set(storm.outcomes)
