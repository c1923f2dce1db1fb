"""A supervised tritonserver: what falls is red at once, and comes back; the rest goes on."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import pytest_asyncio
from onnx import TensorProto, helper

from kokeshi.engines.protocol import Request, State, Wanted
from kokeshi.engines.triton.local_engine import LocalTritonEngine
from kokeshi.engines.triton.memory import Memory
from kokeshi.engines.triton.stub import Limits
from kokeshi.errors import KokeshiError, UnavailableError

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXECUTION_S = 1.5
MODELS = ("colours", "glow", "endless")
BURNING = "while True: pass"


def write_endless(folder: Path) -> None:
    """Counts to its input: 2 ** 60 takes longer than anybody waits."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond"], ["cond_out"]),
            helper.make_node("Add", ["n", "one"], ["n_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n_out", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "zero"], ["counted"], body=body)],
        "endless",
        [helper.make_tensor_value_info("times", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("counted", TensorProto.INT64, [1])],
        [helper.make_tensor("zero", TensorProto.INT64, [1], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "config.pbtxt").write_text("""
        backend: "onnxruntime"
        input { name: "times" data_type: TYPE_INT64 dims: [1] }
        output { name: "counted" data_type: TYPE_INT64 dims: [1] }
    """)


@pytest.fixture(scope="module")
def repository(tiny_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "repository"
    shutil.copytree(tiny_repository, folder)
    for model in ("colours", "tags", "regions"):
        (folder / model / "labels.txt").write_text("red\ngreen\nblue\n")
    write_endless(folder / "endless")
    return folder


@pytest.fixture(scope="module")
def restarts():
    return Counter()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tritonserver, repository, restarts):
    made = LocalTritonEngine(
        tritonserver,
        repository,
        wanted=Wanted(mode="explicit", models=MODELS),
        threads=1,
        limits=Limits(execution_s=EXECUTION_S, retirement_s=2.0),
        on_restart=lambda model, kind: restarts.update([(model, kind)]),
    )
    await made.start()
    prefix = prefix_of(repository)
    yield made
    await made.close()
    assert not in_memory(prefix)
    assert gone(repository)


def prefix_of(repository):
    """How the names begin of all that its server keeps in shared memory."""
    command = Path("/proc", str(server_of(repository)), "cmdline").read_text()
    return re.search(r"shm-region-prefix-name=(kokeshi_triton_[0-9a-f]+)_", command)[1]


def in_memory(prefix):
    return list(Path("/dev/shm").glob(f"{prefix}*"))


def image(colour=(255, 0, 0)):
    return np.broadcast_to(np.array(colour, np.uint8), (1, 8, 8, 3)).copy()


def is_right(model, answer):
    if model == "glow":
        return bool(np.allclose(answer["foreground"], 1 / 3))
    return answer["probabilities"].argmax() == 0 and np.isclose(answer["embedding"][0, 2], 0)


async def ask(engine, model):
    return is_right(model, await engine.infer(Request(model, {"image": image()})))


def state(engine, model):
    return next(one for one in engine.models() if one.name == model)


async def until(condition, within_s):
    """Seconds until the condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within_s, "it does not come to pass"
        await asyncio.sleep(0.005)
    return time.monotonic() - begun


async def until_ready(engine, model, within_s=20):
    return await until(lambda: state(engine, model).answers, within_s)


def processes(repository, model=None):
    """Ids of the processes that run a model, or all; in the order of their ids."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
            alive = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        inside = str(repository / model if model else repository).encode() + b"/"
        if alive and words[0].endswith(b"stub") and words[1].startswith(inside):
            found.append(int(pid))
    return sorted(found)


def server_of(repository):
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"tritonserver") and str(repository).encode() in b" ".join(words):
            return int(pid)
    return None


@asynccontextmanager
async def load(engine, *models, at_once=4):
    """Asks all the while; what came of it, by model: right answers, wrong ones, errors."""
    told: dict[str, Counter] = {model: Counter() for model in models}
    stop = asyncio.Event()

    async def keep_asking(model):
        while not stop.is_set():
            try:
                told[model]["right" if await ask(engine, model) else "wrong"] += 1
            except UnavailableError:
                told[model]["unavailable"] += 1
                await asyncio.sleep(0.01)
            except Exception as error:
                told[model][repr(error)] += 1

    tasks = [asyncio.create_task(keep_asking(model)) for model in models for _ in range(at_once)]
    yield told
    stop.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (signal.SIGKILL, "killed", "killed by SIGKILL"),
        (signal.SIGSTOP, "stopped", "stopped by a signal"),
    ],
)
async def test_a_model_whose_process_falls_is_red_within_a_second_and_comes_back(
    engine, repository, restarts, number, kind, reason
):
    await until_ready(engine, "glow")
    async with load(engine, "glow", "colours") as told:
        await asyncio.sleep(0.5)
        old = processes(repository, "glow")
        os.kill(old[0], number)
        red_s = await until(lambda: not state(engine, "glow").answers, 5)
        fallen = state(engine, "glow")
        with pytest.raises(UnavailableError, match="'glow' is"):
            await ask(engine, "glow")
        await until_ready(engine, "glow")
        right = told["glow"]["right"]
        await until(lambda: told["glow"]["right"] > right, 5)
    await until(lambda: not {*old} & {*processes(repository, "glow")}, 20)

    assert red_s < 1.0
    assert fallen.state is State.FAILED
    assert reason in fallen.reason
    assert set(told["colours"]) == {"right"}
    assert set(told["glow"]) == {"right", "unavailable"}
    assert restarts["glow", kind] >= 1


async def test_an_execution_without_end_is_ended(engine, repository):
    await until_ready(engine, "endless")
    answer = await engine.infer(Request("endless", {"times": np.array([3])}))
    assert answer["counted"].tolist() == [3]

    never = asyncio.create_task(engine.infer(Request("endless", {"times": np.array([2**60])})))
    red_s = await until(lambda: not state(engine, "endless").answers, 10)

    assert red_s < EXECUTION_S + 1.0
    assert "longer than 1.5 s" in state(engine, "endless").reason
    with pytest.raises(UnavailableError):
        await never
    await until_ready(engine, "endless")
    assert await ask(engine, "colours")


async def test_busy_cores_are_no_fall(engine, repository):
    await until_ready(engine, "glow")
    burners = [
        subprocess.Popen([sys.executable, "-c", BURNING]) for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        async with load(engine, "glow", "colours") as told:
            await asyncio.sleep(3)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()

    assert set(told["glow"]) == set(told["colours"]) == {"right"}


async def test_to_unload_and_load_is_no_fall(engine, repository, restarts):
    before = restarts.total()

    await engine.unload("glow")
    assert not state(engine, "glow").answers
    await until(lambda: not processes(repository, "glow"), 10)
    await engine.load("glow")

    assert await ask(engine, "glow")
    assert restarts.total() == before


async def test_a_tritonserver_that_is_killed_is_started_again(engine, repository, restarts):
    server = server_of(repository)
    os.kill(server, signal.SIGKILL)

    red_s = await until(lambda: not any(one.answers for one in engine.models()), 5)
    await until(lambda: "colours" in engine._local.fallen(), 1)
    reason = engine._local.fallen()["colours"]
    for model in MODELS:
        await until_ready(engine, model, 30)

    assert red_s < 1.0
    assert "tritonserver was killed by SIGKILL" in reason
    assert server_of(repository) != server
    assert await ask(engine, "colours")
    assert restarts["colours", "server"] == 1


GATEWAY = """
import asyncio, json, sys
from pathlib import Path
from kokeshi.engines.protocol import Wanted
from kokeshi.engines.triton.installation import Installation, installed
from kokeshi.engines.triton.local import LocalTriton
wheel = installed(Path(sys.argv[1]))
installation = Installation(Path(wheel.program), wheel)
wanted = Wanted(mode="explicit", models=["glow"])
local = LocalTriton(installation, Path(sys.argv[2]), wanted=wanted)
async def main():
    await local.start()
    print("ready", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@asynccontextmanager
async def a_gateway(tritonserver, repository):
    """A process with a tritonserver of its own, which runs glow."""
    folder = Path(tritonserver.wheel.backends).parent
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, str(folder), str(repository), stdout=subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def gone(repository):
    return server_of(repository) is None and not processes(repository)


async def test_nothing_outlives_a_gateway_that_is_killed(tritonserver, repository, tmp_path):
    own = tmp_path / "repository"
    shutil.copytree(repository, own)
    async with a_gateway(tritonserver, own) as process:
        prefix = prefix_of(own)
        assert in_memory(prefix)
        os.kill(processes(own)[0], signal.SIGSTOP)  # one that could not notice by itself
        process.kill()

    await until(lambda: gone(own), 5)
    await until(lambda: not in_memory(prefix), 2)


async def test_what_a_killed_keeper_leaves_is_removed_by_the_next_start(
    tritonserver, repository, tmp_path
):
    own = tmp_path / "repository"
    shutil.copytree(repository, own)
    async with a_gateway(tritonserver, own) as process:
        prefix = prefix_of(own)
        keeper = int(Path("/proc", str(server_of(own)), "stat").read_text().split()[3])
        process.send_signal(signal.SIGSTOP)  # so that it does not start another
        os.kill(keeper, signal.SIGKILL)
        await until(lambda: gone(own), 5)
        process.kill()
    assert in_memory(prefix)

    Memory().close()

    assert not in_memory(prefix)


async def test_folders_that_come_and_go_are_followed(tritonserver, repository, tmp_path):
    own = tmp_path / "repository"
    shutil.copytree(repository / "glow", own / "glow")
    wanted = Wanted(mode="poll", poll_s=0.2)
    engine = LocalTritonEngine(tritonserver, own, wanted=wanted, threads=1)
    await engine.start()
    try:
        assert await ask(engine, "glow")
        shutil.copytree(repository / "colours", own / "colours")
        shutil.rmtree(own / "glow")

        await until(
            lambda: any(one.name == "colours" and one.answers for one in engine.models()), 20
        )
        assert await ask(engine, "colours")
        await until(
            lambda: not any(one.name == "glow" and one.answers for one in engine.models()), 20
        )
    finally:
        await engine.close()


async def test_a_load_that_fails_leaves_what_answers(engine, repository, restarts):
    await until_ready(engine, "glow")
    before = restarts.total()

    with pytest.raises(KokeshiError, match="load failed for model 'glow'"):
        await engine.load("glow", 'backend: "onnxruntime" default_model_filename: "none.onnx"')

    assert await ask(engine, "glow")
    assert restarts.total() == before
