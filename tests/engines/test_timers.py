"""Calls at their time, from one thread for all."""

import threading
import time
from queue import SimpleQueue

from kokeshi.engines import timers
from kokeshi.engines.timers import Timers


def _in_s(seconds):
    return time.monotonic_ns() + int(seconds * 1e9)


def test_calls_come_in_the_order_of_their_times_and_not_before():
    made, called = Timers("test"), SimpleQueue()
    began_s = time.monotonic()
    for seconds in (0.06, 0.02, 0.04, -1.0):
        made.at(_in_s(seconds), lambda seconds=seconds: called.put((seconds, time.monotonic())))
    found = [called.get(timeout=5) for _ in range(4)]
    assert [seconds for seconds, _ in found] == [-1.0, 0.02, 0.04, 0.06]
    assert all(at_s - began_s >= seconds for seconds, at_s in found)


def test_what_is_cancelled_is_not_called_and_is_let_go():
    made, called = Timers("test"), SimpleQueue()
    cancelled = made.at(_in_s(0.02), lambda: called.put("cancelled"))
    made.at(_in_s(0.04), lambda: called.put("called"))
    cancelled.cancel()
    cancelled.cancel()
    assert cancelled.call is None
    assert called.get(timeout=5) == "called"
    assert called.empty()


def test_cancelled_timers_do_not_pile_up():
    made = Timers("test")
    kept = [made.at(_in_s(3600), lambda: None) for _ in range(10)]
    for _ in range(5000):
        made.at(_in_s(3600), lambda: None).cancel()
    assert len(made._heap) < 10 + 2 * timers.KEPT_TIMERS
    assert {each[2] for each in made._heap} >= set(kept)


def test_a_call_that_fails_does_not_keep_others_from_theirs(caplog):
    made, called = Timers("test"), SimpleQueue()
    made.at(_in_s(0.0), lambda: 1 // 0)
    made.at(_in_s(0.0), lambda: called.put("called"))
    assert called.get(timeout=5) == "called"
    assert "ZeroDivisionError" in caplog.text


def test_the_thread_is_there_only_while_something_is_due(monkeypatch):
    monkeypatch.setattr(timers, "LINGER_S", 0.02)
    made, called = Timers("lingering"), SimpleQueue()
    for _ in range(2):
        made.at(_in_s(0.0), lambda: called.put(None))
        called.get(timeout=5)
        deadline_s = time.monotonic() + 5
        while "lingering" in [each.name for each in threading.enumerate()]:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
