"""What a process of its own costs a model, and what it gives: speed, memory, falls, unloading.

    python benchmarks/isolation.py speed REPOSITORY MODEL [SECONDS] [ROUNDS]
    python benchmarks/isolation.py memory REPOSITORY MODEL ...
    python benchmarks/isolation.py falls REPOSITORY MODEL [ROUNDS]
    python benchmarks/isolation.py unload REPOSITORY MODEL [ROUNDS]
    python benchmarks/isolation.py channel [ROUNDS]

`speed` asks an engine that runs the model in its own process and one that runs it in another, in
turns, from 1 and from 16 threads. `channel` measures nothing but the question and the answer.
"""

import asyncio
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.process.channel import Channel, pair, serve
from kokeshi.engines.process.runtime import ProcessRuntime
from kokeshi.engines.protocol import Request, State, Wanted
from kokeshi.engines.runtimes import open_runtime
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES
from kokeshi.errors import UnavailableError

THREADS: Final = (1, 16)
MIB: Final = 1 << 20
LOOK_S: Final = 0.001


async def _engine(repository: str, *models: str, isolated: bool) -> EmbeddedEngine:
    engine = EmbeddedEngine(
        Path(repository),
        threads=1,
        allow_untrained=True,
        wanted=Wanted("explicit", models=models),
        open_runtime=ProcessRuntime if isolated else open_runtime,
    )
    await engine.start()
    return engine


def _request(engine: EmbeddedEngine, model: str) -> Request:
    """Noise of one row; the same in every process."""
    config = engine.config(model)
    rng = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in config.input:
        shape = (1,) * (config.max_batch_size > 0) + tensor.dims
        inputs[tensor.name] = rng.integers(0, 256, shape).astype(NUMPY_TYPES[tensor.data_type])
    return Request(model, inputs)


def _load(ask: Callable[[], object], threads: int, seconds: float) -> tuple[float, list[float]]:
    """Closed loop: answers per second, and the milliseconds of each."""
    ends_s = time.perf_counter() + seconds
    found: list[list[float]] = [[] for _ in range(threads)]

    def work(mine: list[float]) -> None:
        while (begun_s := time.perf_counter()) < ends_s:
            ask()
            mine.append(1e3 * (time.perf_counter() - begun_s))

    workers = [threading.Thread(target=work, args=(mine,)) for mine in found]
    begun_s = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - begun_s
    every = sorted(one for mine in found for one in mine)
    return len(every) / took_s, every


async def speed(repository: str, model: str, seconds: str = "1", rounds: str = "5") -> None:
    """In process against isolated, in turns."""
    engines = {
        name: await _engine(repository, model, isolated=name == "isolated")
        for name in ("in process", "isolated")
    }
    requests = {name: _request(engine, model) for name, engine in engines.items()}
    answers = [engine.infer_now(requests[name]) for name, engine in engines.items()]
    assert all(np.array_equal(answers[0][name], answers[1][name]) for name in answers[0])
    for threads in THREADS:
        rates: dict[str, list[float]] = {name: [] for name in engines}
        times: dict[str, list[float]] = {name: [] for name in engines}
        for number in range(2 * int(rounds)):
            for name, engine in list(engines.items())[:: 1 if number % 2 else -1]:
                ask = partial(engine.infer_now, requests[name])
                rate, every = await asyncio.to_thread(_load, ask, threads, float(seconds) / 2)
                rates[name].append(rate)
                times[name] += every
        for name in engines:
            p50, p99 = np.percentile(times[name], [50, 99])
            rate = statistics.median(rates[name])
            print(
                f"{model}, {threads} at once, {name}: {rate:.0f}/s (median of {len(rates[name])} "
                f"turns, {min(rates[name]):.0f} to {max(rates[name]):.0f}), "
                f"p50 {p50:.3f} ms, p99 {p99:.3f} ms"
            )
        ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
        print(f"{model}, {threads} at once: isolated is {statistics.median(ratios):.3f} of it")
    for engine in engines.values():
        await engine.close()


async def memory(repository: str, *models: str) -> None:
    """Of each process, by the kernel: resident, its share (PSS), and its own (USS)."""
    engine = await _engine(repository, *models, isolated=True)
    for model in models:
        for _ in range(20):
            engine.infer_now(_request(engine, model))
        _print_memory(model, psutil.Process(_pid(engine, model)))
    _print_memory("the gateway's engine", psutil.Process())
    await engine.close()


def _print_memory(name: str, process: psutil.Process) -> None:
    full = process.memory_full_info()
    cpu = process.cpu_times()
    print(
        f"{name}: resident {full.rss / MIB:.0f} MiB, share {full.pss / MIB:.0f} MiB, "
        f"own {full.uss / MIB:.0f} MiB, {process.num_threads()} threads, "
        f"{cpu.user + cpu.system:.2f} s of processor time so far"
    )


def _pid(engine: EmbeddedEngine, model: str) -> int:
    runtime = engine._lifecycle.table[model, 0].loaded.runtime
    assert isinstance(runtime, ProcessRuntime)
    return runtime.pid


async def falls(repository: str, model: str, rounds: str = "10") -> None:
    """Kills the process under the load of 8 threads: until it is red, and until it is back."""
    engine = await _engine(repository, model, isolated=True)
    request, stop = _request(engine, model), threading.Event()
    counts = {"answered": 0, "refused": 0}

    def work() -> None:
        while not stop.is_set():
            try:
                engine.infer_now(request)
                counts["answered"] += 1
            except UnavailableError:
                counts["refused"] += 1
                time.sleep(0.01)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    red_ms, back_s = [], []
    for _ in range(int(rounds)):
        await asyncio.sleep(0.5)
        os.kill(_pid(engine, model), signal.SIGKILL)
        red_ms.append(1e3 * await _until(engine, model, State.FAILED))
        back_s.append(await _until(engine, model, State.READY))
    stop.set()
    for worker in workers:
        worker.join()
    print(f"{model}: red after {_spread(red_ms)} ms, back after {_spread(back_s)} s; {counts}")
    await engine.close()


async def _until(engine: EmbeddedEngine, model: str, state: State) -> float:
    begun_s = time.perf_counter()
    while not any(one.name == model and one.state is state for one in engine.models()):
        await asyncio.sleep(LOOK_S)
    return time.perf_counter() - begun_s


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


async def unload(repository: str, model: str, rounds: str = "20") -> None:
    """What stays with the server's process after rounds of loading, asking and unloading."""
    engine = await _engine(repository, isolated=True)
    this = psutil.Process()
    for number in range(int(rounds) + 1):
        if number:
            await engine.load(model)
            engine.infer_now(_request(engine, model))
            await engine.unload(model)
        if number in {0, 1, 2, int(rounds) // 2, int(rounds)}:
            print(
                f"{model}, round {number}: {this.memory_info().rss / MIB:.1f} MiB resident, "
                f"{this.num_fds()} descriptors, {this.num_threads()} threads, "
                f"{len(this.children())} processes"
            )
    await engine.close()


async def channel(rounds: str = "5") -> None:
    """One question and its answer, without scheduler and without graph."""
    for name, tensor in (
        ("16 floats", np.zeros((1, 16), np.float32)),
        ("an image of 224 px", np.zeros((1, 224, 224, 3), np.uint8)),
        ("32 images of 224 px", np.zeros((32, 224, 224, 3), np.uint8)),
    ):
        ours, theirs = pair()
        pid = os.fork()
        if not pid:
            ours.close()
            serve(theirs, lambda _kind, _meta, tensors: (b"", tensors))
            os._exit(0)
        theirs.close()
        line = Channel(ours)
        times = []
        for _ in range(int(rounds) * 200):
            begun_s = time.perf_counter()
            line.ask(0, b"", {"x": tensor})
            times.append(1e6 * (time.perf_counter() - begun_s))
        line.close()
        os.waitpid(pid, 0)
        p50_us, p10_us = np.percentile(times, [50, 10])
        print(f"{name} there and back: p50 {p50_us:.1f} us, p10 {p10_us:.1f} us")


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
