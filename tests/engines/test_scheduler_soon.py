"""Requests that wait without a thread: who runs them, who calls back, and who takes them out."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi.engines import turns
from kokeshi.engines.policy import Policy, QueueRules
from kokeshi.engines.scheduler import Scheduler
from kokeshi.engines.statistics import Failure
from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)


class Doubler:
    """Doubles its rows; holds every batch until `gate` opens, and remembers what it was given."""

    def __init__(self):
        self.batches = []
        self.threads = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.takes_s = 0.0

    def __call__(self, inputs):
        self.begun += 1
        if self.takes_s:
            time.sleep(self.takes_s)
        assert self.gate.wait(5)
        (rows,) = inputs.values()
        self.batches.append(rows[:, 0].tolist())
        self.threads.append(threading.get_ident())
        if (rows < 0).any():
            raise ValueError("a secret of the graph")
        return {"y": rows * 2}


class Asked:
    """One request with a callback, and what it was told on which thread."""

    def __init__(self, scheduler, value=1.0, **limits):
        self.answers = []
        self.came = threading.Event()
        self.thread = None
        self.leave = None
        scheduler.submit_soon(
            {"x": np.array([[value]], np.float32)}, 1, self._done, watch=self._watch, **limits
        )

    def _watch(self, leave):
        self.leave = leave

    def _done(self, answer):
        self.thread = threading.get_ident()
        self.answers.append(answer)
        self.came.set()

    @property
    def answer(self):
        assert self.came.wait(5)
        (answer,) = self.answers  # it was told once
        return answer if isinstance(answer, Exception) else answer["y"].tolist()


@pytest.fixture
def doubler():
    made = Doubler()
    yield made
    made.gate.set()


@pytest.fixture
def make(doubler):
    with ThreadPoolExecutor(4) as executor:

        def scheduler(*, known=True, run=doubler, **policy):
            for _ in range(50):  # a busy machine may take too long for the first batch
                made = Scheduler("doubler", 1, run, Policy(**policy), executor)
                if not known or (Asked(made, 0.0).answer == [[0]] and _is_fast(made)):
                    break
            doubler.batches.clear()
            doubler.threads.clear()
            return made

        yield scheduler
        doubler.gate.set()


def _is_fast(scheduler, within_s=0.1):
    """Tells whether a scheduler has noted that its batches take no time."""
    until_s = time.monotonic() + within_s
    while scheduler._turns.slow and time.monotonic() < until_s:
        time.sleep(0.001)
    return not scheduler._turns.slow


def _until(condition):
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def _held(scheduler, doubler, *requests):
    """Holds one request on a thread of its own, and has others wait behind it, in their order."""
    begun = doubler.begun
    doubler.gate.clear()
    asked = []
    thread = threading.Thread(target=lambda: asked.append(Asked(scheduler, 0.0)))
    thread.start()
    _until(lambda: doubler.begun > begun)
    rest = [Asked(scheduler, value, **limits) for value, limits in requests]

    def let_go():
        doubler.gate.set()
        thread.join(5)
        return [each.answer for each in (*asked, *rest)]

    return rest, let_go


def test_what_meets_no_other_runs_and_is_answered_on_the_thread_that_asks(make, doubler):
    asked = Asked(make(), 3.0)
    assert asked.answers
    assert asked.answer == [[6]]
    assert doubler.threads == [asked.thread] == [threading.get_ident()]
    assert asked.leave is None  # nobody can leave what ran at once


def test_what_has_to_wait_holds_no_thread_and_is_run_by_whoever_ran_the_last(make, doubler):
    scheduler = make(max_rows=8, merge=True)
    before = threading.active_count()
    rest, let_go = _held(scheduler, doubler, *[(float(i), {}) for i in range(1, 21)])
    assert threading.active_count() == before + 1  # the one that is held
    assert scheduler.pending == 20
    assert let_go() == [[[2.0 * i]] for i in range(21)]
    assert [len(batch) for batch in doubler.batches] == [1, 8, 8, 4]
    assert {each.thread for each in rest} <= set(doubler.threads)
    counted = scheduler.statistics()
    assert (counted.success.count, counted.fail.count, counted.pending) == (22, 0, 0)


def test_a_thread_that_asked_does_not_lead_for_others_for_ever(make, doubler, monkeypatch):
    monkeypatch.setattr(turns, "LEADS_S", 0.0)
    _, let_go = _held(make(), doubler, (1.0, {}), (2.0, {}))
    assert let_go() == [[[0]], [[2]], [[4]]]
    held, *others = doubler.threads
    assert held not in others


def test_what_is_slow_or_not_known_to_be_fast_runs_on_the_executor(make, doubler):
    scheduler = make(known=False, max_rows=4, merge=True)
    doubler.gate.clear()
    first = Asked(scheduler, 1.0)  # returns, though the graph is held
    _until(lambda: doubler.begun)
    doubler.takes_s = 0.01
    rest = [Asked(scheduler, float(value)) for value in range(2, 12)]
    doubler.gate.set()
    answers = [each.answer for each in (first, *rest)]
    assert answers == [[[2.0 * value]] for value in range(1, 12)]
    assert threading.get_ident() not in doubler.threads
    assert first.leave is not None
    assert sum(map(len, doubler.batches)) == 11


def test_a_slow_model_runs_on_while_answers_are_written(doubler):
    writing, wrote = threading.Event(), threading.Event()
    doubler.takes_s = 0.02
    with ThreadPoolExecutor(2) as executor:
        scheduler = Scheduler("doubler", 1, doubler, Policy(), executor)

        def slowly(answer):
            writing.set()
            assert wrote.wait(5)

        rows = {"x": np.ones((1, 1), np.float32)}
        scheduler.submit_soon(rows, 1, slowly)
        _until(lambda: doubler.begun == 1)
        second = Asked(scheduler, 2.0)
        assert writing.wait(5)
        assert second.answer == [[4]]
        wrote.set()


def test_blocked_threads_coroutines_and_callbacks_share_a_queue(make, doubler):
    async def main():
        scheduler = make(max_rows=8, merge=True)
        rows = {"x": np.array([[7.0]], np.float32)}
        _, let_go = _held(scheduler, doubler, (1.0, {}))
        task = asyncio.create_task(scheduler.submit(rows, 1))
        blocked = asyncio.create_task(asyncio.to_thread(scheduler.submit_now, rows, 1))
        while scheduler.pending < 3:
            await asyncio.sleep(0.001)
        last = Asked(scheduler, 2.0)
        assert await asyncio.to_thread(let_go) == [[[0]], [[2]]]
        assert last.answer == [[4]]
        for each in (task, blocked):
            assert (await each)["y"].tolist() == [[14]]

    asyncio.run(main())


@pytest.mark.parametrize("limits", [{"timeout_s": 0.05}, {"queue_timeout_s": 0.05}])
def test_a_limit_passes_without_a_thread_that_waits_for_it(make, doubler, limits):
    scheduler = make(rules=QueueRules(allow_override=True))
    (late, other), let_go = _held(scheduler, doubler, (1.0, limits), (2.0, {}))
    assert isinstance(late.answer, DeadlineError)
    assert scheduler.pending == 1
    assert scheduler.statistics().failures[Failure.REJECTED] == 1
    assert let_go()[2] == [[4]]
    assert doubler.batches == [[0], [2]]
    assert other.thread is not None


def test_a_deadline_ends_a_request_that_outlived_its_place_in_the_queue(make, doubler):
    rules = QueueRules(timeout_s=0.02)
    scheduler = make(max_rows=2, merge=True, rules=rules)
    _, let_go = _held(scheduler, doubler)
    first, second = Asked(scheduler, 1.0), Asked(scheduler, 2.0, timeout_s=0.2)
    begun = doubler.begun
    doubler.takes_s = 0.5
    thread = threading.Thread(target=let_go)
    thread.start()
    _until(lambda: doubler.begun > begun)
    assert isinstance(second.answer, DeadlineError)  # while its batch runs
    assert first.answer == [[2]]
    thread.join(5)
    assert doubler.batches == [[0], [1, 2]]
    assert scheduler.statistics().failures[Failure.CANCELED] == 1


def test_no_time_at_all_and_a_full_queue_are_said_at_once(make, doubler):
    scheduler = make(max_queue_requests=1)
    with pytest.raises(DeadlineError):
        Asked(scheduler, 1.0, timeout_s=0.0)
    _, let_go = _held(scheduler, doubler, (1.0, {}))
    with pytest.raises(OverloadedError):
        Asked(scheduler, 2.0)
    assert let_go() == [[[0]], [[2]]]


def test_who_leaves_is_not_run_and_is_told_so_once(make, doubler):
    scheduler = make()
    (left, other), let_go = _held(scheduler, doubler, (1.0, {}), (2.0, {}))
    left.leave()
    left.leave()
    answer = left.answer
    assert isinstance(answer, CancelledError)
    assert "has left" in str(answer)
    assert scheduler.pending == 1
    assert let_go()[0] == [[0]]
    other.leave()  # when it was answered
    assert doubler.batches == [[0], [2]]
    counted = scheduler.statistics()
    assert counted.failures[Failure.CANCELED] == counted.fail.count == 1
    assert counted.success.count == 3


def test_many_who_leave_at_once_from_many_threads_leave_the_queue_as_it_was(make, doubler):
    scheduler = make(max_rows=4, merge=True, priority_levels=3, default_level=2)
    for _ in range(5):
        requests = [(float(i), {"priority": i % 4, "timeout_s": 60.0}) for i in range(1, 201)]
        rest, let_go = _held(scheduler, doubler, *requests)
        barrier = threading.Barrier(9)

        def leave(mine, barrier=barrier):
            barrier.wait(5)
            for each in mine:
                each.leave()

        leaving = [each for each in rest if each.thread is None][::2] + rest[::3]
        threads = [threading.Thread(target=leave, args=(leaving[i::8],)) for i in range(8)]
        for thread in threads:
            thread.start()
        barrier.wait(5)
        answers = let_go()
        for thread in threads:
            thread.join(5)
        for number, answer in enumerate(answers):
            assert isinstance(answer, CancelledError) or answer == [[2.0 * number]]
        assert scheduler.pending == 0
    counted = scheduler.statistics()
    assert counted.success.count + counted.fail.count == 5 * 201 + 1
    assert counted.fail.count == counted.failures[Failure.CANCELED] > 0


def test_an_answer_that_cannot_be_given_is_the_affair_of_no_other(make, doubler, caplog):
    scheduler = make(max_rows=4, merge=True)

    def broken(answer):
        raise RuntimeError("cannot write")

    _, let_go = _held(scheduler, doubler, (1.0, {}))
    scheduler.submit_soon({"x": np.ones((1, 1), np.float32)}, 1, broken)
    third = Asked(scheduler, 3.0)
    assert let_go() == [[[0]], [[2]]]
    assert third.answer == [[6]]
    assert "cannot write" in caplog.text
    assert doubler.batches == [[0], [1, 1, 3]]


def test_a_failing_batch_runs_apart_and_each_is_told_once(make, doubler, caplog):
    scheduler = make(max_rows=4, merge=True)
    _, let_go = _held(scheduler, doubler, (1.0, {}), (-2.0, {}), (3.0, {}))
    held, first, failed, third = let_go()
    assert (held, first, third) == ([[0]], [[2]], [[6]])
    assert isinstance(failed, InferenceError)
    assert "secret" in caplog.text


async def test_what_waits_when_its_time_is_over_is_told_away_from_the_event_loop(make, doubler):
    scheduler = make()
    (waiting,), let_go = _held(scheduler, doubler, (1.0, {}))
    await scheduler.close(drain=False, drain_timeout_s=0.01)
    assert isinstance(waiting.answer, UnavailableError)
    assert waiting.thread != threading.get_ident()
    with pytest.raises(UnavailableError):
        Asked(scheduler)
    assert (await asyncio.to_thread(let_go))[0] == [[0]]
