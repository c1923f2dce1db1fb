"""Resident memory over rounds of loading, asking and unloading one model.

    python benchmarks/unload_memory.py run REPOSITORY MODEL CSV [ROUNDS]
    python benchmarks/unload_memory.py plot CSV SVG          # wants matplotlib, nothing else

`run` measures every way of `WAYS` in a process of its own; the model is one that takes images, such
as `kokeshi export resnet18 --untrained` writes. Read each round: when the model has answered, and
when it has been unloaded. Round 0 is the process before anything was loaded.
"""

import asyncio
import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MIB = 1 << 20
BATCHES = (1, 4)  # rows of the requests of a round
FIELDS = ("way", "round", "loaded_mib", "unloaded_mib")
SHIPPED = "as shipped"
NO_TRIM = "without malloc_trim"
TWO_ARENAS = "MALLOC_ARENA_MAX=2"
DRAWN = (SHIPPED, NO_TRIM, TWO_ARENAS)  # the others run a third of the rounds
WAYS = {  # and what each changes
    SHIPPED: "",
    NO_TRIM: "freed memory is not returned by malloc_trim(0)",
    TWO_ARENAS: "the C library keeps two arenas for all threads, in place of eight a core",
    "without closing": "nor is the session closed: the collector finds it",
    "no arena": "`enable_cpu_mem_arena` off",
    "no pattern": "`enable_mem_pattern` off",
    "same as requested": "arena that grows by what is asked for",
    "weights outside": "`session.use_device_allocator_for_initializers`",
    "shrinking": "`memory.enable_memory_arena_shrinkage` at every run",
    "no arena and no trim": "`enable_cpu_mem_arena` off, without malloc_trim",
    "shrinking and no trim": "shrinkage at every run, without malloc_trim",
}


def run(repository: str, model: str, target: str, rounds: str = "50") -> None:
    """Measures every way, one after the other."""
    with Path(target).open("w", newline="") as file:
        file.write(",".join(FIELDS) + "\n")
        for way, change in WAYS.items():
            count = int(rounds) if way in DRAWN else max(2, int(rounds) // 3)
            command = [sys.executable, __file__, "one", repository, model, way, str(count)]
            environment = {**os.environ, **({"MALLOC_ARENA_MAX": "2"} if way == TWO_ARENAS else {})}
            found = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=environment
            ).stdout
            file.write(found)
            lines = [line.split(",") for line in found.splitlines()]
            print("|", " | ".join((way, change, *lines[1][1:], *lines[-1][1:])), "|", flush=True)


def one(repository: str, model: str, way: str, rounds: str) -> None:
    """Measures one way in this process."""
    asyncio.run(_rounds(Path(repository), model, way, int(rounds)))


async def _rounds(repository: Path, model: str, way: str, rounds: int) -> None:
    from kokeshi.engines import version
    from kokeshi.engines.embedded import EmbeddedEngine
    from kokeshi.engines.protocol import Wanted

    if "trim" in way or "without" in way:
        version.give_back = lambda: None
    engine = EmbeddedEngine(
        repository,
        threads=2,
        allow_untrained=True,
        wanted=Wanted("explicit"),
        open_runtime=_opener(way),
    )
    await engine.start()
    print(f"{way},0,{_resident_mib():.1f},{_resident_mib():.1f}")
    for number in range(1, rounds + 1):
        await engine.load(model)
        for rows in BATCHES:
            await _ask(engine, model, rows)
        loaded = _resident_mib()
        await engine.unload(model)
        print(f"{way},{number},{loaded:.1f},{_resident_mib():.1f}")
    await engine.close()


async def _ask(engine: Any, model: str, rows: int) -> None:
    import numpy as np

    from kokeshi.engines.protocol import Request

    (tensor,) = engine.config(model).input
    rng = np.random.default_rng(rows)
    images = rng.integers(0, 256, (rows, *tensor.dims), dtype=np.uint8)
    await engine.infer(Request(model, {tensor.name: images}))


def _opener(way: str) -> Any:
    """Opens graphs with what a way changes; the server's own where it changes nothing of it."""
    from kokeshi.engines.runtimes import open_runtime

    if way in DRAWN:
        return open_runtime
    import onnxruntime

    from kokeshi.engines.runtimes.session import OnnxRuntime, session_options

    class Shrinking(OnnxRuntime):
        def run(self, inputs: Any) -> Any:
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            return dict(
                zip(self._names, self._session.run(self._names, inputs, options), strict=True)
            )

    class Open(OnnxRuntime):
        def close(self) -> None:
            """Leaves the session to the collector."""

    def opened(graph: Path, config: Any, *, threads: int, **_: Any) -> Any:
        options = session_options(threads, {})
        options.enable_cpu_mem_arena = "no arena" not in way
        options.enable_mem_pattern = way != "no pattern"
        if way == "weights outside":
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        if way == "same as requested":
            _register_frugal_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        kind = Shrinking if "shrinking" in way else Open if "closing" in way else OnnxRuntime
        return kind(session)

    return opened


_registered: list[bool] = []


def _register_frugal_arena() -> None:
    """One arena for all sessions, which grows by what it needs, not to a power of two."""
    import onnxruntime

    if _registered:
        return
    _registered.append(True)
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(memory, arena)


def _resident_mib() -> float:
    import psutil

    return psutil.Process().memory_info().rss / MIB


def plot(source: str, target: str) -> None:
    """Draws what was measured."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "kokeshi"  # the same figures give the same file
    from matplotlib import pyplot

    with Path(source).open() as file:
        rows = list(csv.DictReader(file))
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for colour, way in enumerate(DRAWN):
        mine = [row for row in rows if row["way"] == way]
        rounds = [int(row["round"]) for row in mine]
        for field, style in (("loaded_mib", "--"), ("unloaded_mib", "-")):
            label = f"{way}, {'answering' if field == 'loaded_mib' else 'unloaded'}"
            axes.plot(
                rounds, [float(row[field]) for row in mine], style, color=f"C{colour}", label=label
            )
    axes.set(
        xlabel="round of load, requests, unload", ylabel="resident memory (MiB)", ylim=(0, None)
    )
    figure.legend(loc="outside lower center", ncols=len(DRAWN), fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    {"run": run, "one": one, "plot": plot}[sys.argv[1]](*sys.argv[2:])
