"""Models in processes of their own: the same answers, and nothing else falls with one."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from kokeshi.engines.config import Tensor, from_pbtxt
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.process import arena, backoff
from kokeshi.engines.process.channel import RemoteError
from kokeshi.engines.process.runtime import ProcessRuntime
from kokeshi.engines.protocol import Request, State, Wanted
from kokeshi.engines.runtimes import open_runtime
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES
from kokeshi.errors import ArtefactError, UnavailableError
from kokeshi.metrics import MODEL_RESTARTS

CONFIG = """
name: "m"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [-1, -1] }
input { name: "times" data_type: TYPE_INT64 dims: [] }
output { name: "y" data_type: TYPE_FP32 dims: [-1, -1] }
"""
FOR_EVER = 1 << 40
CHILD = "kokeshi.engines.process.child"


def children():
    """Living processes of models that this one started; other tests start others."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # or a zombie, which has no command line
            if CHILD in child.cmdline():
                found.append(child)
    return found


@pytest.fixture(scope="module")
def doubling(tmp_path_factory) -> Path:
    """A model m: y is x, (rows, 4), doubled `times`; of three columns it fails."""
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    body = helper.make_graph(
        [
            helper.make_node("Add", ["before", "before"], ["after"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value("before", shape=None),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), value("after", shape=None)],
    )
    nodes = [
        helper.make_node("Mul", ["x", "ones"], ["begin"]),
        helper.make_node("Loop", ["times", "", "begin"], ["y"], body=body),
    ]
    inputs = [
        value("x", shape=["N", "C"]),
        helper.make_tensor_value_info("times", TensorProto.INT64, []),
    ]
    ones = numpy_helper.from_array(np.ones(4, np.float32), "ones")
    graph = helper.make_graph(nodes, "doubling", inputs, [value("y", shape=["N", "D"])], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    folder = tmp_path_factory.mktemp("models") / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "config.pbtxt").write_text(CONFIG)
    return folder


def asked(times: int, rows: int = 1, columns: int = 4) -> dict:
    return {"x": np.ones((rows, columns), np.float32), "times": np.array(times)}


class Told:
    """What a runtime said of its process."""

    def __init__(self):
        self.reasons = []
        self._up = threading.Event()
        self._up.set()

    def fell(self, reason):
        self._up.clear()
        self.reasons.append(reason)

    def rose(self):
        self._up.set()

    def wait_down(self, timeout_s=10.0):
        ends_s = time.monotonic() + timeout_s
        while self._up.is_set() and time.monotonic() < ends_s:
            time.sleep(0.005)
        assert not self._up.is_set()

    def wait_up(self, timeout_s=30.0):
        assert self._up.wait(timeout_s)


@pytest.fixture
def opened(doubling):
    """Opens the model m, watched by a `Told`."""
    runtimes = []

    def opens(**options):
        config = from_pbtxt(CONFIG)
        graph = doubling / "1" / "model.onnx"
        runtimes.append(ProcessRuntime(graph, config, threads=1, **options))
        told = Told()
        runtimes[-1].watch(told.fell, told.rose)
        return runtimes[-1], told

    yield opens
    for runtime in runtimes:
        runtime.close()
    assert not children()


@pytest.fixture
def interpreter(tmp_path):
    """A Python whose start can be changed: by lines of a shell's."""
    path = tmp_path / "python"

    def becomes(before: str) -> Path:
        path.write_text(f'#!/bin/sh\n{before}\nexec {sys.executable} "$@"\n')
        path.chmod(0o755)
        return path

    return becomes


def restarts(reason: str, model: str = "m") -> float:
    return MODEL_RESTARTS.labels(model, reason)._value.get()


MODELS = ("colours", "tags", "regions", "glow", "pair.image", "pair.text")


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_answers_as_it_does_in_this_process(tiny_repository, name):
    folder = tiny_repository / name
    config = from_pbtxt((folder / "config.pbtxt").read_text())
    graph = folder / "1" / "model.onnx"
    here, there = (kind(graph, config, threads=1) for kind in (open_runtime, ProcessRuntime))
    try:
        assert (there.inputs, there.outputs) == (here.inputs, here.outputs)
        assert (there.providers, there.degraded) == (here.providers, here.degraded)
        for rows in (1, 3, 32):
            inputs = {tensor.name: _random(tensor, rows) for tensor in config.input}
            expected, found = here.run(inputs), there.run(inputs)
            assert list(found) == list(expected)
            for output, values in expected.items():
                assert found[output].dtype == values.dtype
                np.testing.assert_array_equal(found[output], values)
    finally:
        there.close()


def _random(tensor: Tensor, rows: int):
    numbers = np.random.default_rng(rows).integers(0, 6, (rows, *tensor.dims))
    return numbers.astype(NUMPY_TYPES[tensor.data_type])


def test_batches_larger_than_the_shared_memory_are_answered(opened):
    runtime, told = opened()
    for rows in (1, arena.FIRST_BYTES, 1, 3 * arena.FIRST_BYTES // 2):  # of 16 bytes
        sent = asked(3, rows)
        sent["x"][-1] = 5
        found = runtime.run(sent)["y"]
        assert found.shape == (rows, 4)
        assert (found[:-1] == 8).all()
        assert (found[-1] == 40).all()
    assert told.reasons == []


def test_batches_of_several_instances_overlap(doubling):
    config = from_pbtxt(CONFIG + "instance_group { count: 2 }")
    runtime = ProcessRuntime(doubling / "1" / "model.onnx", config, threads=1)
    told = Told()
    runtime.watch(told.fell, told.rose)
    stuck = threading.Thread(target=_refused, args=(runtime, asked(FOR_EVER)))
    stuck.start()
    time.sleep(0.1)
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]  # while the other runs
    os.kill(runtime.pid, signal.SIGKILL)
    stuck.join(5)
    runtime.close()


def _refused(runtime, inputs) -> None:
    with pytest.raises(UnavailableError):
        runtime.run(inputs)


def test_what_the_graph_raises_is_raised_and_the_process_lives(opened):
    runtime, told = opened()
    pid = runtime.pid
    with pytest.raises(RemoteError, match="Mul"):
        runtime.run(asked(1, columns=3))
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]
    assert (runtime.pid, told.reasons) == (pid, [])


def test_a_graph_that_cannot_be_opened_raises_as_it_does_in_this_process(doubling):
    config = from_pbtxt(CONFIG)
    bad = config.model_copy(update={"optimization": _unknown_accelerator()})
    errors = []
    for kind in (open_runtime, ProcessRuntime):
        with pytest.raises(ArtefactError) as raised:
            kind(doubling / "1" / "model.onnx", bad, threads=1)
        errors.append(str(raised.value))
    assert errors[0] == errors[1]
    assert not children()


def _unknown_accelerator():
    text = (
        'optimization { execution_accelerators { cpu_execution_accelerator { name: "abacus" } } }'
    )
    return from_pbtxt(CONFIG + text).optimization


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_told_at_once_and_started_again(opened, number):
    runtime, told = opened()
    before, pid = restarts("died"), runtime.pid
    os.kill(pid, number)
    told.wait_down(2)
    assert told.reasons == [f"its process died of signal {number}"]
    with pytest.raises(UnavailableError, match=f"its process died of signal {number}"):
        runtime.run(asked(1))
    told.wait_up()
    assert runtime.pid != pid
    assert runtime.run(asked(2))["y"].tolist() == [[4] * 4]
    assert restarts("died") == before + 1


def test_who_waits_for_an_answer_of_a_process_that_dies_is_told_why(opened):
    runtime, _ = opened()
    timer = threading.Timer(0.2, os.kill, (runtime.pid, signal.SIGKILL))
    timer.start()
    begun_s = time.monotonic()
    with pytest.raises(UnavailableError, match="its process died of signal 9"):
        runtime.run(asked(FOR_EVER))
    assert time.monotonic() - begun_s < 2


def test_a_process_that_was_stopped_is_replaced(opened):
    runtime, told = opened()
    before, pid = restarts("stopped"), runtime.pid
    os.kill(pid, signal.SIGSTOP)
    told.wait_down(2)
    assert told.reasons == ["its process was stopped"]
    told.wait_up()
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]
    assert restarts("stopped") == before + 1
    assert not psutil.pid_exists(pid)


def test_a_process_that_does_not_answer_is_replaced(opened):
    runtime, told = opened(wedge_timeout_s=0.5)
    before = restarts("wedged")
    with pytest.raises(UnavailableError, match=r"did not answer a batch within 0\.5 s"):
        runtime.run(asked(FOR_EVER))
    told.wait_up()
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]
    assert restarts("wedged") == before + 1


def test_a_process_that_does_not_start_again_is_tried_until_it_does(opened, interpreter, caplog):
    runtime, told = opened(python=interpreter(""))
    before = restarts("not_started")
    interpreter("exit 3")
    os.kill(runtime.pid, signal.SIGKILL)
    told.wait_down()
    while restarts("not_started") < before + 2:
        time.sleep(0.01)
    assert "model m does not start again: its process ended with exit status 3" in caplog.text
    interpreter("")
    told.wait_up()
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]


def test_it_can_be_closed_while_it_is_started_again(opened, interpreter):
    runtime, told = opened(python=interpreter(""))
    interpreter("exec sleep 60")
    os.kill(runtime.pid, signal.SIGKILL)
    told.wait_down()
    time.sleep(backoff.FIRST_S * 3)
    begun_s = time.monotonic()
    runtime.close()
    assert time.monotonic() - begun_s < 2


def test_who_begins_to_watch_too_late_is_told(opened, interpreter):
    runtime, told = opened(python=interpreter(""))
    interpreter("exit 1")
    os.kill(runtime.pid, signal.SIGKILL)
    told.wait_down()
    late = Told()
    runtime.watch(late.fell, late.rose)
    assert late.reasons == ["its process died of signal 9"]
    interpreter("")
    late.wait_up()


def test_delays_double_up_to_a_limit_and_begin_again_after_a_steady_time(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(backoff.time, "monotonic", lambda: now_s[0])
    delays = backoff.Backoff()
    found = [delays.delay_s() for _ in range(10)]
    assert found[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert found[-1] == backoff.LONGEST_S
    delays.up()
    now_s[0] += backoff.STEADY_S / 2
    assert delays.delay_s() == backoff.LONGEST_S
    delays.up()
    now_s[0] += backoff.STEADY_S + 1
    assert delays.delay_s() == backoff.FIRST_S


def test_nothing_stays_open_over_rounds_of_loading_and_closing(opened):
    runtime, _ = opened()
    runtime.close()
    this = psutil.Process()
    before = this.num_fds()
    for _ in range(4):
        runtime, _ = opened()
        runtime.run(asked(1))
        runtime.close()
        runtime.close()
        with pytest.raises(UnavailableError, match="the model was unloaded"):
            runtime.run(asked(1))
    assert not children()
    assert this.num_fds() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "keep m"]


GATEWAY = """
import sys, threading
from pathlib import Path
import numpy as np
from kokeshi.engines.config import from_pbtxt
from kokeshi.engines.process.runtime import ProcessRuntime

folder = Path(sys.argv[1])
config = from_pbtxt((folder / "config.pbtxt").read_text())
runtime = ProcessRuntime(folder / "1" / "model.onnx", config, threads=1)
asked = {"x": np.ones((1, 4), np.float32), "times": np.array(1 << 40)}
threading.Thread(target=runtime.run, args=(asked,)).start()
print(runtime.pid, flush=True)
"""


def test_the_process_dies_with_the_server_in_the_midst_of_a_batch(doubling):
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(doubling)], stdout=subprocess.PIPE, text=True
    ) as server:
        child = psutil.Process(int(server.stdout.readline()))
        time.sleep(0.2)
        assert child.is_running()
        server.kill()
    child.wait(5)
    assert not child.is_running()


def test_signals_to_the_whole_group_leave_the_process_to_the_server(opened):
    runtime, told = opened()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        os.kill(runtime.pid, number)
    assert runtime.run(asked(1))["y"].tolist() == [[2] * 4]
    assert told.reasons == []


def test_the_process_imports_only_what_it_needs(opened):
    runtime, _ = opened()
    mapped = Path(f"/proc/{runtime.pid}/maps").read_text()
    for library in ("grpc", "google/_upb", "faiss", "torch", "openvino", "uvloop", "apsw"):
        assert f"/{library}" not in mapped, library


@pytest.fixture
async def engine(tiny_repository):
    """An engine with two models, each in a process of its own."""
    wanted = Wanted("explicit", models=("tags", "colours"))
    made = EmbeddedEngine(tiny_repository, threads=1, wanted=wanted, open_runtime=ProcessRuntime)
    await made.start()
    yield made
    await made.close()
    assert not children()


def state(engine, name) -> State:
    return next(one.state for one in engine.models() if one.name == name)


def process_of(engine, name) -> int:
    return engine._lifecycle.table[name, 0].loaded.runtime.pid


class Client:
    """A thread that asks one model without pause: each picture is of another brightness."""

    def __init__(self, engine, model, number):
        self.answers, self.refused, self.wrong = [], [], []
        self._engine, self._model, self._number = engine, model, number
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self):
        output = {"tags": "scores", "colours": "probabilities"}[self._model]
        count = self._number
        while not self._stop.is_set():
            count += 8
            pictures = np.full((1 + count % 3, 8, 8, 3), count % 256, np.uint8)
            pictures[..., 1:] = 0
            try:
                found = self._engine.infer_now(Request(self._model, {"image": pictures}))[output]
            except UnavailableError:
                self.refused.append(time.monotonic())
                time.sleep(0.01)
                continue
            except Exception as error:
                self.wrong.append(error)
                continue
            self.answers.append(time.monotonic())
            red = count % 256 / 255
            expected = np.array([red, 0, 0])
            if self._model == "colours":
                expected = np.exp(10 * expected) / np.exp(10 * expected).sum()
            if found.shape != (len(pictures), 3) or not np.allclose(found, expected, atol=1e-5):
                self.wrong.append((red, found))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


async def until(condition, timeout_s=30.0) -> float:
    begun_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)
    return time.monotonic() - begun_s


async def test_a_model_killed_under_load_falls_alone_and_comes_back(engine):
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(engine, "tags", number)) for number in range(8)]
        others = [stack.enter_context(Client(engine, "colours", number)) for number in range(2)]
        await until(lambda: all(len(one.answers) > 5 for one in (*clients, *others)))
        os.kill(process_of(engine, "tags"), signal.SIGKILL)
        red_s = await until(lambda: state(engine, "tags") is State.FAILED)
        await until(lambda: state(engine, "tags") is State.READY)
        counts = [len(one.answers) for one in clients]
        await until(
            lambda: all(len(one.answers) > n for one, n in zip(clients, counts, strict=True))
        )
    assert red_s < 1
    assert [one.wrong for one in (*clients, *others)] == [[]] * 10
    assert all(one.refused for one in clients)
    assert [one.refused for one in others] == [[], []]


async def test_a_model_that_is_down_says_why(engine):
    os.kill(process_of(engine, "tags"), signal.SIGKILL)
    await until(lambda: state(engine, "tags") is State.FAILED)
    status = next(one for one in engine.models() if one.name == "tags")
    assert status.reason == "its process died of signal 9"
    with pytest.raises(UnavailableError, match=r"'tags' is failed: its process died of signal 9"):
        await engine.infer(Request("tags", {"image": np.zeros((1, 8, 8, 3), np.uint8)}))
    assert state(engine, "colours") is State.READY
    await until(lambda: state(engine, "tags") is State.READY)


async def test_unloading_ends_the_process(engine):
    pid = process_of(engine, "tags")
    await engine.unload("tags")
    assert not psutil.pid_exists(pid)
    assert len(children()) == 1
    await engine.load("tags")
    assert state(engine, "tags") is State.READY


async def test_a_crash_at_the_load_fails_that_model_alone(tiny_repository, interpreter):
    crashing = interpreter("kill -SEGV $$")
    engine = EmbeddedEngine(
        tiny_repository,
        threads=1,
        wanted=Wanted("explicit", models=("tags",)),
        open_runtime=partial(ProcessRuntime, python=crashing),
    )
    await engine.start()
    status = next(one for one in engine.models() if one.name == "tags")
    assert status.state is State.FAILED
    assert status.reason == "its process died of signal 11 while it opened the graph"
    await engine.close()
