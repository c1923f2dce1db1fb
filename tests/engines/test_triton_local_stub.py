"""Which processes are held to be well, with real processes and no Triton."""

import os
import signal
import subprocess
import sys
import time

import pytest

from kokeshi.engines.triton.backends.onnxruntime import kokeshi_heartbeat
from kokeshi.engines.triton.backoff import FIRST_S, LONGEST_S, Backoff
from kokeshi.engines.triton.stub import Limits, Stub
from kokeshi.engines.vitals import MemoryKills, vitals

TICK_S = 0.1
BEATING = """
import ctypes, sys, time
sys.path.insert(0, sys.argv[1])
from kokeshi_heartbeat import Heartbeat
heart = Heartbeat(sys.argv[2], {"model": "m", "version": 1, "instance": "m_0", "cpu_only": True})
while not heart._cells[0]: time.sleep(0.01)
print("beats", flush=True)
sys.stdin.readline()
"""
BURNING = "while True: pass"


@pytest.fixture
def beating(tmp_path):
    """Starts a process that beats, and does what the code says once it is told to."""
    started = []

    def start(then: str) -> tuple[Stub, subprocess.Popen]:
        folder = os.path.dirname(kokeshi_heartbeat.__file__)
        process = subprocess.Popen(
            [sys.executable, "-c", BEATING + then, folder, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "beats\n"
        stub = Stub(tmp_path / str(process.pid), Limits(execution_s=2.0))
        started.append((stub, process))
        return stub, process

    yield start
    for stub, process in started:
        stub.close()
        process.kill()
        process.communicate()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def first_fall(stub, within_s):
    """The fall and the seconds until it."""
    begun = looked = time.monotonic()
    while time.monotonic() - begun < within_s:
        time.sleep(TICK_S)
        passed_s, looked = min(time.monotonic() - looked, 2 * TICK_S), time.monotonic()
        if fall := stub.check(passed_s):
            return fall, time.monotonic() - begun
    return None, within_s


def test_an_idle_process_is_well(beating):
    stub, _ = beating("")

    assert first_fall(stub, 1.5)[0] is None


def test_a_process_that_executes_for_long_on_a_core_is_well_until_the_limit(beating):
    stub, process = beating("heart.begin()\nwhile True: pass\n")
    go(process)

    fall, after_s = first_fall(stub, 5.0)

    assert fall.reason == "one execution takes longer than 2 s"
    assert after_s > 1.9


def test_a_process_that_executes_many_times_is_well(beating):
    stub, process = beating("while True:\n  heart.begin(); time.sleep(0.02); heart.end()\n")
    go(process)

    assert first_fall(stub, 2.5)[0] is None


def test_a_stopped_process_is_known_in_less_than_a_second(beating):
    stub, process = beating("")
    process.send_signal(signal.SIGSTOP)

    fall, after_s = first_fall(stub, 3.0)

    assert fall.kind == "stopped"
    assert after_s < 1.0


def test_native_code_that_keeps_the_interpreter_is_known_in_about_a_second(beating):
    stub, process = beating("heart.begin()\nctypes.PyDLL(None).sleep(60)\n")
    go(process)

    fall, after_s = first_fall(stub, 3.0)

    assert fall.reason == "its process is alive and gives no sign of life"
    assert after_s < 1.2


def test_an_execution_that_sleeps_for_ever_is_known_in_about_a_second(beating):
    stub, process = beating("heart.begin()\ntime.sleep(60)\n")
    go(process)

    fall, after_s = first_fall(stub, 3.0)

    assert fall.reason == "its process stands still in the middle of an execution"
    assert after_s < 1.3


@pytest.mark.parametrize("then", ["", "heart.begin()\nwhile True: pass\n"])
def test_a_process_that_gets_no_core_is_not_held_to_be_wedged(beating, then):
    core = {min(os.sched_getaffinity(0))}
    stub, process = beating(then)
    for task in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(task), core)
        os.sched_setscheduler(int(task), os.SCHED_IDLE, os.sched_param(0))
    burners = [subprocess.Popen([sys.executable, "-c", BURNING]) for _ in range(3)]
    try:
        for burner in burners:
            os.sched_setaffinity(burner.pid, core)
        go(process) if then else None
        before = stub._pulse.read()[0]
        fall, _ = first_fall(stub, 1.9)
        beats = stub._pulse.read()[0] - before
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()

    assert beats < 19, "it was not starved, so this shows nothing"
    assert fall is None


def test_the_death_of_a_process_is_told_with_its_signal(beating):
    stub, process = beating("")
    process.send_signal(signal.SIGSEGV)
    while vitals(process.pid).state != "Z":
        time.sleep(0.01)

    fall = stub.post_mortem(MemoryKills())

    assert (fall.kind, fall.reason) == ("killed", "its process was killed by SIGSEGV")


def test_the_end_of_a_process_is_told_with_its_status(beating):
    stub, process = beating("import os; os._exit(7)")
    go(process)
    while vitals(process.pid).state != "Z":
        time.sleep(0.01)

    assert stub.post_mortem(MemoryKills()).reason == "its process exited with status 7"


def test_the_end_that_follows_an_unload_is_no_fall(beating):
    stub, process = beating("heart.finish()")
    go(process)
    process.wait()

    assert stub.finished


def test_delays_grow_from_none_to_the_longest():
    backoff = Backoff()
    delays = [backoff.delay_s() for _ in range(10)]

    assert delays[:3] == [0.0, FIRST_S, 2 * FIRST_S]
    assert delays[-1] == LONGEST_S


def test_delays_begin_anew_after_a_long_time_up(monkeypatch):
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_s()
    backoff.up()
    monkeypatch.setattr("kokeshi.engines.triton.backoff.STEADY_S", 0.01)
    time.sleep(0.02)

    assert backoff.delay_s() == 0.0
