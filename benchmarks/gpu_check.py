"""Runs on a GPU what others test down to options and keys, and writes docs/benchmarks/gpu.md.

    python benchmarks/gpu_check.py [--seconds 2] [--page docs/benchmarks/gpu.md] [--only index]

Providers load and answer as the CPU does; a TensorRT engine is built once and found again; every
way to run the shipped models, and a ResNet-50 where the export extra is installed, is measured;
and so is the index, beside exact scans and beside FAISS on the CPU.
Exits with 2 where there is no GPU, with 1 where something is not as it must be.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import gpu_index  # beside this file
import numpy as np
from tuning import exported, table  # beside this file

from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.repository import Entry, scan
from kokeshi.engines.runtimes import Machine, open_runtime, this_machine
from kokeshi.engines.runtimes.accelerators import CUDA
from kokeshi.engines.runtimes.plan import PLAN_FILE, write_plan
from kokeshi.errors import SetupError
from kokeshi.settings import usable_cores
from kokeshi.tune import BOUNDS, Options, tune
from kokeshi.tune.fidelity import compare
from kokeshi.tune.pictures import bundled
from kokeshi.tune.ways import Form, Way

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks/gpu.md"
WAYS = (Way("cuda", "FP32", Form.FP32), Way("tensorrt", "FP32", Form.FP32))
CACHE_HIT = 0.5  # a second start takes at most this share of the first


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    subject: str
    found: str
    right: bool


def entries(repository: Path) -> list[Entry]:
    """The versions of a repository that take images."""
    found = [entry for entry in scan(repository) if isinstance(entry, Entry)]
    return [entry for entry in found if entry.card().input.kind == "image"]


def plain(way: Way, entry: Entry) -> ModelConfig:
    return way.configured(entry.config, "model.onnx")


def compared(entry: Entry, way: Way, cores: int, cache: Path) -> Check:
    """A way's answers beside the CPU's, by the measures and bounds of tuning."""
    card = entry.card()
    rows = bundled(card.image, for_calibration=False).rows[:16]
    graph = entry.folder / str(entry.version) / "model.onnx"
    on_cpu = open_runtime(graph, plain(Way("onnxruntime", "FP32", Form.FP32), entry), threads=cores)
    on_gpu = open_runtime(graph, plain(way, entry), threads=cores, cache_folder=cache)
    feed = {card.input.name: rows}
    fidelity = compare(card.outputs, on_cpu.run(feed), on_gpu.run(feed), BOUNDS)
    told = ", ".join(f"{one.output} {one.measure} {one.mean:.6f}" for one in fidelity)
    right = not on_gpu.degraded and all(one.mean >= one.bound for one in fidelity)
    subject = f"{entry.name}: {way.name} beside the CPU ({on_gpu.providers[0]})"
    return Check(subject, on_gpu.degraded or told, right)


def cached(entry: Entry, cores: int) -> Check:
    """How long a TensorRT engine takes to build, and to find again."""
    graph = entry.folder / str(entry.version) / "model.onnx"
    config = plain(Way("tensorrt", "FP16", Form.FP32), entry)
    took_s, told = [], []
    with TemporaryDirectory() as folder:
        for _ in range(2):
            begun_s = time.perf_counter()
            runtime = open_runtime(
                graph, config, threads=cores, cache_folder=Path(folder), progress=told.append
            )
            took_s.append(time.perf_counter() - begun_s)
            every_size_is_fast(runtime, entry)
            runtime.close()
    right = took_s[1] < CACHE_HIT * took_s[0] and told[-1] == 1.0
    found = f"built in {took_s[0]:.1f} s, found again in {took_s[1]:.1f} s"
    return Check(f"{entry.name}: engine cache", found, right)


def every_size_is_fast(runtime, entry: Entry) -> None:
    """Fails where a batch size within the profile makes TensorRT build again."""
    card = entry.card()
    for size in (1, 2, 3, entry.config.max_batch_size):
        rows = np.zeros((size, card.image.height, card.image.width, 3), np.uint8)
        begun_s = time.perf_counter()
        runtime.run({card.input.name: rows})
        taken_s = time.perf_counter() - begun_s
        if taken_s > 2:
            raise SystemExit(f"{entry.name}: {size} rows took {taken_s:.1f} s after the start")


def planned(entry: Entry) -> Check:
    """Whether a plan for Triton's TensorRT backend can be built."""
    graph = entry.folder / str(entry.version) / "model.onnx"
    subject = f"{entry.name}: {PLAN_FILE} in fp16"
    with TemporaryDirectory() as folder:
        target = Path(folder, PLAN_FILE)
        try:
            write_plan(graph, entry.config, target, "FP16")
        except SetupError as error:
            return Check(subject, str(error), right=False)
        return Check(subject, f"{target.stat().st_size / 2**20:.1f} MiB", right=True)


def resnet(folder: Path) -> list[Entry]:
    """A ResNet-50, where the export extra is installed."""
    try:
        import torch  # noqa: F401 - only whether it is there
    except ImportError:
        return []
    exported(("timm/resnet50",), folder)
    return entries(folder)


def page(machine: Machine, checks: list[Check], cards: list[Card]) -> str:
    lines = [
        "# GPU\n",
        f"What `make gpu-check` found on {datetime.now(UTC).date()}: {machine.gpu}, {machine.cpu}; "
        f"ONNX Runtime {machine.onnxruntime}, TensorRT {machine.tensorrt or 'does not load'}.\n",
        "| | found | |",
        "|---|---|---|",
        *(f"| {it.subject} | {it.found} | {'right' if it.right else 'WRONG'} |" for it in checks),
        *(line for card in cards for line in table(card)),
    ]
    return "\n".join(lines) + "\n"


def write(target: Path, machine: Machine, checks: list[Check], cards: list[Card]) -> None:
    """Writes what is known so far: a run that ends early leaves it."""
    target.write_text(page(machine, checks, cards), "utf-8")
    print(target.read_text("utf-8"), flush=True)


def without_models(machine: Machine) -> str:
    """Why no model can be checked; "" where some can."""
    if machine.gpus and CUDA in machine.providers:
        return ""
    return "ONNX Runtime is not built for CUDA" if machine.gpus else "there is no GPU"


def without_index() -> str:
    """Why the index cannot be checked; "" where it can."""
    if gpu_index.has_gpu():
        return ""
    is_built = hasattr(gpu_index.load_faiss(), "StandardGpuResources")
    return "no GPU works with FAISS" if is_built else "FAISS is not built for GPUs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per candidate and batch size")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", choices=("models", "index"), help="leaves the other out")
    asked = parser.parse_args()
    machine, cores = this_machine(), usable_cores()
    missing = {"models": without_models(machine), "index": without_index()}
    wanted = [part for part in missing if asked.only in (None, part)]
    for part in wanted:
        if missing[part]:
            print(f"{part}: nothing was checked, {missing[part]}", file=sys.stderr)
    if all(missing[part] for part in wanted):
        raise SystemExit(2)
    checks: list[Check] = []
    cards: list[Card] = []
    if "index" in wanted and not missing["index"]:
        for found in gpu_index.checks():
            checks.append(Check(*found))
            write(asked.page, machine, checks, cards)
    with TemporaryDirectory() as folder:
        cache, made = Path(folder, "cache"), Path(folder, "models")
        is_wanted = "models" in wanted and not missing["models"]
        for entry in [*entries(ROOT / "model_repository"), *resnet(made)] if is_wanted else []:
            ways = [way for way in WAYS if way.runtime == "cuda" or machine.tensorrt]
            checks += [compared(entry, way, cores, cache) for way in ways]
            if machine.tensorrt:
                checks += [cached(entry, cores), planned(entry)]
            options = Options(cores=cores, seconds=asked.seconds, cache_folder=cache)
            repository = entry.folder.parent
            cards.append(tune(repository, entry.name, options, machine, write=False))
            write(asked.page, machine, checks, cards)
    raise SystemExit(0 if all(check.right for check in checks) else 1)


if __name__ == "__main__":
    main()
