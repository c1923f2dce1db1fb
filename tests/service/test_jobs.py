"""Fits and diagnoses run one at a time, and end when nobody waits for them."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from kokeshi.errors import DeadlineError, OverloadedError, UnavailableError
from kokeshi.plugin import go_on
from kokeshi.service.retrieval.jobs import Jobs

WAIT_S = 60.0


class Endless:
    """Work of many steps that ends only when it is told to."""

    def __init__(self):
        self.began, self.ended = threading.Event(), threading.Event()

    def __call__(self):
        self.began.set()
        try:
            while True:
                time.sleep(0.001)
                go_on()
        finally:
            self.ended.set()


async def held(event):
    assert await asyncio.to_thread(event.wait, WAIT_S)


@pytest.fixture
def jobs():
    made = Jobs(2, longest_s=600)
    yield made
    made.close()


def test_work_whose_caller_left_ends_at_its_next_step(jobs):
    work = Endless()

    async def main():
        task = asyncio.create_task(jobs.run(work, None))
        await held(work.began)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await held(work.ended)
        assert await jobs.run(lambda: 7, WAIT_S) == 7

    asyncio.run(main())


def test_work_past_its_callers_deadline_ends_too(jobs):
    work = Endless()

    async def main():
        with pytest.raises(DeadlineError, match="not done in time"):
            await jobs.run(work, 0.05)
        if work.began.is_set():
            await held(work.ended)
        assert await jobs.run(lambda: 7, WAIT_S) == 7

    asyncio.run(main())


def test_work_that_takes_longer_than_any_may_is_stopped():
    jobs = Jobs(1, longest_s=0.05)
    work = Endless()
    with pytest.raises(DeadlineError, match=r"may run for 0\.05 s"):
        asyncio.run(jobs.run(work, None))
    assert work.ended.is_set()
    jobs.close()


def test_what_waits_is_dropped_when_its_caller_leaves(jobs):
    work, done = Endless(), []

    async def main():
        first = asyncio.create_task(jobs.run(work, None))
        await held(work.began)
        second = asyncio.create_task(jobs.run(lambda: done.append("second"), None))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="2 fits and diagnoses"):
            await jobs.run(lambda: 7, None)
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await held(work.ended)
        assert await jobs.run(lambda: 7, WAIT_S) == 7

    asyncio.run(main())
    assert not done


def test_a_server_that_stops_ends_what_runs_and_what_waits(jobs):
    work = Endless()

    async def main():
        first = asyncio.create_task(jobs.run(work, None))
        await held(work.began)
        second = asyncio.create_task(jobs.run(lambda: 7, None))
        await asyncio.sleep(0)
        jobs.close()
        for task in (first, second):
            with pytest.raises(UnavailableError, match="the server stops"):
                await task

    asyncio.run(main())
    assert work.ended.is_set()


def test_what_work_raises_is_the_callers(jobs):
    def work():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(jobs.run(work, None))


STUCK = """
import asyncio, threading, time
from kokeshi.service.retrieval import jobs
jobs.CLOSING_S = 0.1
began = threading.Event()
def work():
    began.set()
    time.sleep(600)
async def main():
    made = jobs.Jobs(1, longest_s=600)
    task = asyncio.create_task(made.run(work, None))
    await asyncio.to_thread(began.wait)
    made.close()
    task.cancel()
asyncio.run(main())
print("ended")
"""


def test_a_step_that_does_not_end_keeps_no_process_alive():
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout.strip() == "ended"
