"""Models that come, change and go while they are asked."""

import asyncio
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kokeshi import metrics
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Request, State, Wanted
from kokeshi.engines.runtimes import open_runtime
from kokeshi.errors import InvalidRequestError, ModelNotFoundError, UnavailableError

EXPLICIT = Wanted("explicit", poll_s=0.05, models=("*",))
POLL = Wanted("poll", poll_s=0.05)
ROW = {"x": np.zeros((1, 2), np.float32)}
CONFIG = """
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [2] }
output { name: "y" data_type: TYPE_FP32 dims: [2] }
dynamic_batching {}
"""


def graph(number: float) -> bytes:
    """y = x + number, so that an answer tells which graph gave it."""
    tensors = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])] for name in ("x", "y")
    ]
    constant = numpy_helper.from_array(np.float32(number), "number")
    nodes = [helper.make_node("Add", ["x", "number"], ["y"])]
    made = helper.make_graph(nodes, "hand", *tensors, [constant])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def place(repository: Path, name: str, version: int, content: bytes | None = None, more="") -> None:
    """Puts a version down whole, as an export does: by renaming."""
    folder = repository / name
    folder.mkdir(exist_ok=True)
    making = repository / f".{name}"
    making.mkdir()
    (making / "model.onnx").write_bytes(graph(version) if content is None else content)
    if not (folder / "config.pbtxt").exists() or more:
        (folder / "config.pbtxt").write_text(CONFIG + more)
    making.rename(folder / str(version))


@pytest.fixture
async def serve(tmp_path):
    """Starts an engine on the models placed under `tmp_path`."""
    engines = []

    async def started(wanted=EXPLICIT, **options) -> EmbeddedEngine:
        engine = EmbeddedEngine(tmp_path, threads=1, wanted=wanted, **options)
        engines.append(engine)
        await engine.start()
        return engine

    yield started
    for engine in engines:
        await engine.close()


async def answer(engine, name="m", version=0) -> float:
    return float((await engine.infer(Request(name, ROW, version=version)))["y"][0, 0])


def states(engine) -> dict:
    return {(one.name, one.version): one.state for one in engine.models()}


async def until(condition, timeout_s=5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class Hammer:
    """Threads that ask without pause, and hold every answer against what was loaded when they did.

    `loaded` is the number that answers at least; the graph may be as new as `placed`.
    """

    def __init__(self, engine, threads=4):
        self.engine, self.loaded, self.placed = engine, 1, 1
        self.answers, self.wrong = [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self):
        while not self._stop.is_set():
            oldest = self.loaded
            try:
                found = float(self.engine.infer_now(Request("m", ROW))["y"][0, 0])
            except Exception as error:
                self.wrong.append(error)
                continue
            self.answers.append(found)
            if not oldest <= found <= self.placed:
                self.wrong.append((oldest, found, self.placed))

    async def sees(self, number):
        self.loaded = number
        before = len(self.answers)
        await until(lambda: number in self.answers[before:])

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


async def test_versions_change_under_load_and_no_request_fails(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve()
    tasks = []
    with Hammer(engine) as hammer:
        for version in range(2, 12):
            tasks += [asyncio.create_task(answer(engine)) for _ in range(5)]
            place(tmp_path, "m", version)
            hammer.placed = version
            await engine.load("m")
            await hammer.sees(version)
    assert hammer.wrong == []
    assert set(hammer.answers) == set(map(float, range(1, 12)))
    assert set(await asyncio.gather(*tasks)) <= set(hammer.answers)
    assert states(engine) == {("m", 11): State.READY}


async def test_a_version_is_replaced_in_its_place_under_load(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve()
    with Hammer(engine) as hammer:
        for number in range(2, 8):
            hammer.placed = number
            await engine.load("m", CONFIG, {"1/model.onnx": graph(number)})
            await hammer.sees(number)
    assert hammer.wrong == []
    assert states(engine) == {("m", 1): State.READY}
    await engine.load("m")
    assert await answer(engine) == 1


class Stalling(dict):
    """Inputs that hold up whoever looks at them: after the version is found, before it is asked."""

    def __init__(self, inputs):
        super().__init__(inputs)
        self.looked_at, self.go_on = threading.Event(), threading.Event()

    def get(self, name):
        self.looked_at.set()
        self.go_on.wait()
        return self[name]


async def test_a_request_that_found_a_version_just_before_it_went_is_answered_by_the_next(
    serve, tmp_path
):
    place(tmp_path, "m", 1)
    engine = await serve()
    inputs = Stalling(ROW)
    asking = asyncio.create_task(asyncio.to_thread(engine.infer_now, Request("m", inputs)))
    await asyncio.to_thread(inputs.looked_at.wait)
    place(tmp_path, "m", 2)
    await engine.load("m")
    await asyncio.sleep(0.2)  # the first version is closed
    inputs.go_on.set()
    assert (await asking)["y"][0, 0] == 2


async def test_a_broken_new_version_leaves_the_old_one_answering(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve()
    place(tmp_path, "m", 2, b"no graph")
    with pytest.raises(UnavailableError, match="'m' cannot be loaded: the graph cannot be loaded"):
        await engine.load("m")
    assert states(engine) == {("m", 1): State.READY, ("m", 2): State.FAILED}
    assert await answer(engine) == 1
    with pytest.raises(UnavailableError, match="'m' is failed: the graph cannot be loaded"):
        await answer(engine, version=2)
    shutil.rmtree(tmp_path / "m" / "2")
    place(tmp_path, "m", 2)
    await engine.load("m")
    assert states(engine) == {("m", 2): State.READY}
    assert await answer(engine) == 2


async def test_a_configuration_that_breaks_leaves_what_was_served(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve()
    (tmp_path / "m" / "config.pbtxt").write_text("nonsense")
    with pytest.raises(UnavailableError, match=r"config\.pbtxt cannot be read"):
        await engine.load("m")
    assert states(engine) == {("m", 0): State.FAILED, ("m", 1): State.READY}
    assert await answer(engine) == 1


async def test_a_broken_replacement_of_a_version_is_told_with_the_version(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve()
    with pytest.raises(UnavailableError):
        await engine.load("m", CONFIG, {"1/model.onnx": b"no graph"})
    (status,) = engine.models()
    assert status.state is State.READY
    assert status.reason.startswith("its replacement cannot be served: the graph")
    assert await answer(engine) == 1


async def test_the_version_policy_is_followed_at_every_load(serve, tmp_path):
    for version in (1, 2, 3):
        place(tmp_path, "m", version, more="version_policy { latest { num_versions: 2 } }")
    engine = await serve()
    assert states(engine) == {("m", 2): State.READY, ("m", 3): State.READY}
    assert [await answer(engine, version=version) for version in (2, 3, 0)] == [2, 3, 3]
    await engine.load("m", CONFIG + "version_policy { specific { versions: [1] } }")
    assert states(engine) == {("m", 1): State.READY}
    with pytest.raises(ModelNotFoundError, match="version 3"):
        await answer(engine, version=3)


def slow(seconds: float, running: list):
    """The real runtimes, each run of which takes its time."""

    def opened(path, config, **options):
        runtime = open_runtime(path, config, **options)
        run = runtime.run

        def slowly(inputs):
            running.append(inputs)
            time.sleep(seconds)
            return run(inputs)

        runtime.run = slowly
        return runtime

    return opened


async def test_unloading_lets_what_was_asked_be_answered(serve, tmp_path):
    place(tmp_path, "m", 1)
    running = []
    engine = await serve(open_runtime=slow(0.2, running))
    # one runs, three wait
    asked = [asyncio.create_task(answer(engine)) for _ in range(4)]
    await until(lambda: running)
    await engine.unload("m")
    assert all(task.done() for task in asked)
    assert [await task for task in asked] == [1] * 4
    (status,) = engine.models()
    assert (status.version, status.state, status.reason) == (0, State.ABSENT, "unloaded")
    with pytest.raises(UnavailableError, match="'m' is absent: unloaded"):
        await answer(engine)
    await engine.load("m")
    assert await answer(engine) == 1


async def test_a_model_that_does_not_finish_in_time_holds_nothing_up(serve, tmp_path):
    place(tmp_path, "m", 1)
    running = []
    engine = await serve(open_runtime=slow(1.0, running), drain_timeout_s=0.1)
    asked = [asyncio.create_task(answer(engine)) for _ in range(2)]
    await until(lambda: running)
    started_s = time.monotonic()
    await engine.unload("m")
    assert time.monotonic() - started_s < 0.8
    assert await asked[0] == 1
    with pytest.raises(UnavailableError):
        await asked[1]


async def test_only_what_is_asked_for_is_loaded(serve, tmp_path):
    place(tmp_path, "m", 1)
    place(tmp_path, "other", 1)
    engine = await serve(Wanted("explicit", poll_s=0.05, models=("m", "missing")))
    assert states(engine) == {
        ("m", 1): State.READY,
        ("missing", 0): State.FAILED,
        ("other", 0): State.ABSENT,
    }
    with pytest.raises(UnavailableError, match="'other' is absent: not asked for"):
        await answer(engine, "other")
    await engine.load("other")
    assert await answer(engine, "other") == 1
    place(tmp_path, "third", 1)
    await until(lambda: ("third", 0) in states(engine))
    shutil.rmtree(tmp_path / "third")
    await until(lambda: ("third", 0) not in states(engine))


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_requests_to_load_are_refused_where_the_repository_decides(serve, tmp_path, mode):
    place(tmp_path, "m", 1)
    engine = await serve(Wanted(mode))
    with pytest.raises(UnavailableError, match=f"`model_control` is 'explicit'; it is '{mode}'"):
        await engine.load("m")
    with pytest.raises(UnavailableError, match="model_control"):
        await engine.unload("m")
    assert await answer(engine) == 1


@pytest.mark.parametrize("name", ["", "none", "..", "m/1", ".m", "/etc"])
async def test_what_is_no_model_of_the_repository_cannot_be_loaded(serve, tmp_path, name):
    place(tmp_path, "m", 1)
    engine = await serve()
    with pytest.raises(ModelNotFoundError):
        await engine.load(name)
    with pytest.raises(ModelNotFoundError):
        await engine.unload(name)


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ("", {"1/model.onnx": b""}, "come with its configuration"),
        ("nonsense", {}, "the configuration cannot be read: .*line 1"),
        (CONFIG, {"../1/model.onnx": b""}, "cannot have its name"),
        (CONFIG, {"/1/model.onnx": b""}, "cannot have its name"),
    ],
)
async def test_a_request_to_load_that_makes_no_sense_is_refused(
    serve, tmp_path, config, files, message
):
    place(tmp_path, "m", 1)
    engine = await serve()
    with pytest.raises(InvalidRequestError, match=message):
        await engine.load("m", config, files)
    assert await answer(engine) == 1


async def test_files_of_a_request_are_gone_with_the_model(serve, tmp_path, monkeypatch):
    temporary = tmp_path / ".temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    engine = await serve()
    await engine.load("new", CONFIG, {"7/model.onnx": graph(7), "labels.txt": b"a"})
    assert await answer(engine, "new") == 7
    assert await asyncio.to_thread(engine.file, "new", "labels.txt") == b"a"
    with pytest.raises(UnavailableError, match="has no file 'none'"):
        engine.file("new", "none")
    assert len(list(temporary.iterdir())) == 1
    with pytest.raises(UnavailableError):
        await engine.load("new", CONFIG, {"8/model.onnx": b"no graph"})
    assert await answer(engine, "new") == 7
    assert len(list(temporary.iterdir())) == 1
    await engine.unload("new")
    assert list(temporary.iterdir()) == []


async def test_polling_follows_the_folder(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve(POLL)
    place(tmp_path, "m", 2)
    await until(lambda: states(engine) == {("m", 2): State.READY})
    assert await answer(engine) == 2
    place(tmp_path, "later", 5)
    await until(lambda: states(engine).get(("later", 5)) is State.READY)
    shutil.rmtree(tmp_path / "m")
    await until(lambda: states(engine) == {("later", 5): State.READY})
    with pytest.raises(ModelNotFoundError):
        await answer(engine)


async def test_a_folder_that_is_still_being_copied_is_left_alone(serve, tmp_path):
    place(tmp_path, "m", 1)
    opened = []

    def noting(path, config, **options):
        opened.append(path.stat().st_size)
        return open_runtime(path, config, **options)

    engine = await serve(POLL, open_runtime=noting)
    content = graph(2)
    (tmp_path / "m" / "2").mkdir()
    with (tmp_path / "m" / "2" / "model.onnx").open("wb") as file:
        for start in range(0, len(content), len(content) // 20):
            file.write(content[start : start + len(content) // 20])
            file.flush()
            await asyncio.sleep(0.03)
    await until(lambda: ("m", 2) in states(engine))
    await until(lambda: states(engine) == {("m", 2): State.READY})
    assert opened == [len(graph(1)), len(content)]
    assert await answer(engine) == 2


async def test_polling_keeps_the_old_version_until_a_broken_one_is_mended(serve, tmp_path):
    place(tmp_path, "m", 1)
    engine = await serve(POLL)
    place(tmp_path, "m", 2, b"no graph")
    await until(lambda: states(engine).get(("m", 2)) is State.FAILED)
    assert await answer(engine) == 1
    (tmp_path / "m" / "2" / "model.onnx").write_bytes(graph(2))
    await until(lambda: states(engine) == {("m", 2): State.READY})
    assert await answer(engine) == 2


async def test_a_repository_that_goes_away_for_a_while_takes_nothing_with_it(
    serve, tmp_path, caplog
):
    place(tmp_path, "m", 1)
    engine = await serve(POLL)
    tmp_path.rename(tmp_path.with_name("away"))
    await until(lambda: "cannot be followed" in caplog.text)
    assert await answer(engine) == 1
    tmp_path.with_name("away").rename(tmp_path)
    place(tmp_path, "m", 2)
    await until(lambda: states(engine) == {("m", 2): State.READY})


async def test_half_of_a_method_is_served_when_its_other_half_arrives(
    serve, tmp_path, tiny_repository
):
    shutil.copytree(tiny_repository / "pair.image", tmp_path / "pair.image")
    engine = await serve(POLL)
    assert states(engine) == {("pair.image", 1): State.FAILED}
    shutil.copytree(tiny_repository / "pair.text", tmp_path / "pair.text")
    wanted = {("pair.image", 1): State.READY, ("pair.text", 1): State.READY}
    await until(lambda: states(engine) == wanted)


async def test_a_load_shows_how_far_it_is_and_refuses_with_it(serve, tmp_path):
    place(tmp_path, "m", 1)
    building, go_on = threading.Event(), threading.Event()

    def built(path, config, *, progress, **options):
        progress(0.4)
        building.set()
        go_on.wait()
        return open_runtime(path, config, **options)

    engine = EmbeddedEngine(tmp_path, threads=1, open_runtime=built)
    loading = asyncio.create_task(engine.start())
    await asyncio.to_thread(building.wait)
    await until(lambda: states(engine) == {("m", 1): State.BUILDING})
    (status,) = engine.models()
    assert status.progress == 0.4
    with pytest.raises(UnavailableError, match=r"'m' is building \(40% done\)"):
        await answer(engine)
    go_on.set()
    await loading
    assert await answer(engine) == 1
    await engine.close()


class Dying:
    """A runtime whose process can be killed, and comes back when it is told to."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.dead = False
        self.rose = None
        for name in ("inputs", "outputs", "providers", "degraded", "close"):
            setattr(self, name, getattr(runtime, name))

    def watch(self, fell, rose):
        self.fell, self.rose = fell, rose

    def run(self, inputs):
        if self.dead:
            raise UnavailableError("its process died: signal 9")
        return self._runtime.run(inputs)


async def test_a_version_whose_process_died_is_red_until_it_is_back(serve, tmp_path):
    place(tmp_path, "m", 1)
    runtimes = []

    def opened(path, config, **options):
        runtimes.append(Dying(open_runtime(path, config, **options)))
        return runtimes[-1]

    engine = await serve(open_runtime=opened)
    ready = metrics.MODEL_READY.labels("m", "1")
    assert ready._value.get() == 1
    runtimes[0].dead = True
    for _ in range(2):
        with pytest.raises(UnavailableError, match="its process died: signal 9"):
            await answer(engine)
    (status,) = engine.models()
    assert (status.state, status.reason) == (State.FAILED, "its process died: signal 9")
    assert ready._value.get() == 0
    runtimes[0].dead = False
    runtimes[0].rose()
    assert states(engine) == {("m", 1): State.READY}
    assert await answer(engine) == 1
    runtimes[0].fell("its process died: signal 11")
    assert states(engine) == {("m", 1): State.FAILED}
    await engine.load("m")
    assert states(engine) == {("m", 1): State.READY}
    runtimes[0].fell("too late")
    assert states(engine) == {("m", 1): State.READY}


async def test_each_change_of_state_is_a_line_and_a_value(serve, tmp_path, caplog):
    place(tmp_path, "m", 1)
    with caplog.at_level("INFO", "kokeshi.engines.board"):
        engine = await serve()
        await engine.unload("m")
    told = [record.message for record in caplog.records]
    assert told == [
        "model m version 1 is loading",
        "model m version 1 is warming",
        "model m version 1 is ready",
        "model m is absent: unloaded",
    ]
    ready = metrics.REGISTRY.get_sample_value
    assert ready("kokeshi_model_ready", {"model": "m", "version": "1"}) is None


async def test_statistics_are_of_what_answers(serve, tmp_path):
    place(tmp_path, "m", 1)
    place(tmp_path, "other", 1)
    engine = await serve()
    await answer(engine)
    (found,) = await engine.statistics("m")
    assert (found.name, found.version, found.success.count, found.execution_count) == ("m", 1, 1, 1)
    assert [one.name for one in engine.counted()] == ["m", "other"]
    assert len(await engine.statistics()) == 2
    with pytest.raises(ModelNotFoundError):
        await engine.statistics("none")


async def test_the_loop_turns_while_models_load(serve, tmp_path):
    place(tmp_path, "m", 1)

    def opened(path, config, **options):
        time.sleep(0.3)
        return open_runtime(path, config, **options)

    loading = asyncio.create_task(serve(open_runtime=opened))
    longest_s, before_s = 0.0, time.monotonic()
    while not loading.done():
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.monotonic() - before_s)
        before_s = time.monotonic()
    await loading
    assert longest_s < 0.2
