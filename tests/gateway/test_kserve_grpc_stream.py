"""Requests of a stream that run side by side and are answered in order."""

import contextvars
import itertools
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from kokeshi.gateway.grpc.kserve_stream import pipelined


def test_answers_come_in_the_order_of_the_requests():
    def slow_at_times(number: int) -> int:
        time.sleep(0.002 if number % 7 == 0 else 0)
        return number * 10

    assert list(pipelined(iter(range(300)), slow_at_times, 4)) == [10 * i for i in range(300)]


def test_no_more_run_at_once_than_the_width():
    running, most = 0, 0
    lock = threading.Lock()

    def count(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return number

    assert len(list(pipelined(iter(range(60)), count, 3))) == 60
    assert most == 3


def test_no_more_are_read_than_can_run_or_wait_to_be_taken():
    read = []

    def requests() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    answers = pipelined(requests(), lambda number: number, 5)
    assert next(answers) == 0
    time.sleep(0.05)
    assert len(read) <= 6
    answers.close()


def test_a_client_that_waits_for_each_answer_is_answered():
    asked: SimpleQueue[int | None] = SimpleQueue()
    asked.put(0)
    answers = pipelined(iter(asked.get, None), lambda number: number + 1)
    for number in range(1, 50):
        assert next(answers) == number
        asked.put(number)
    asked.put(None)
    assert list(answers) == [50]


def test_what_reading_raises_comes_after_the_answers_before_it():
    def requests() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is broken")

    answers = pipelined(requests(), lambda number: number)
    assert [next(answers), next(answers)] == [1, 2]
    with pytest.raises(ValueError, match="the third is broken"):
        next(answers)


def test_what_an_answer_raises_is_raised_in_its_place():
    answers = pipelined(iter([1, 0, 2]), lambda number: 1 // number)
    assert next(answers) == 1
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_a_stream_that_is_given_up_leaves_no_thread():
    before = threading.active_count()
    ended = threading.Event()

    def requests() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    answers = pipelined(requests(), lambda number: number, 4)
    next(answers)
    answers.close()
    deadline_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert threading.active_count() <= before
    assert ended.wait(5)


def test_the_context_of_the_caller_is_there():
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    name.set("the caller's")
    assert set(pipelined(iter(range(50)), lambda number: name.get(), 4)) == {"the caller's"}
