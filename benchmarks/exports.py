"""Exports every variant of every built-in method with untrained weights, and writes down the proof.

    python benchmarks/exports.py [--fresh] [--minutes 45] [NAME ...]

Each export runs in a process of its own, at low priority, into a repository that is thrown away.
What the page says already, of this machine and these versions, is not measured again; the page is
written after each export, so an interrupted run goes on where it was.
"""

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kokeshi.plugin import Options, Part, Recipe
from kokeshi.registry import Registry, discover

if TYPE_CHECKING:
    from kokeshi.export.verify import Measure

PAGE = Path(__file__).parents[1] / "docs/benchmarks/exports.md"
BUILTIN = "kokeshi"  # the distribution
# Any name of the library exports; these show it.
BY_PREFIX = (
    "timm/resnet18",
    "timm/vit_tiny_patch16_224",
    "timm/convnext_atto",
    "torchvision/shufflenet_v2_x1_0",
)
# Slow and large, so after all others, in this order.
LAST = (
    "resnet101",
    "resnet152",
    "resnet101_mrl",
    "resnet152_mrl",
    "convnext_base",
    "swin_base",
    "clip_vit_b_16",
    "clip_rn101",
    "clip_rn50x4",
    "swin_base_384",
    "convnext_large",
    "swin_large",
    "clip_rn50x16",
    "vit_large_patch16_224",
    "convnext_xlarge",
    "swin_large_384",
    "clip_vit_l_14",
    "clip_vit_l_14_336",
    "clip_rn50x64",
    "vit_huge_patch14_224",
)
VERSIONS = ("torch", "torchvision", "timm", "onnx", "onnxslim", "onnxruntime")
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| \d")  # of an export that succeeded
HEADER = """\
# Exports

What `make exports` measured: every variant of every built-in method, with seeded random weights,
exported and compared with PyTorch on eight photographs and eight pictures of noise (sentences and
random tokens for text towers), at batch sizes {batch_sizes}. An output whose difference is over its
bound is an export that fails. The measures are those of the card's `parity`; a cosine and a share
of equal pixels are given by what they lack to 1. Behind each stands how far apart the same measure
finds two different photographs (or sentences) in PyTorch, at the least: where that is next to
nothing, the comparison says little of that output.

Random weights prove that the graph computes what PyTorch computes, not what a checkpoint is worth.
Batch normalisation has its statistics from five of the photographs: with those that it begins with,
the signal of some networks dies on its way.

Machine: {machine}

The machine had other work at the time: seconds, and the peak memory of the whole process, are
orders of magnitude.

| name | parameters (M) | graph (MB) | export (s) | peak (GB) | date | worst differences |
|---|---:|---:|---:|---:|---|---|
"""


def names(registry: Registry) -> list[str]:
    """Every variant of the built-in methods, with the examples by prefix; the slowest last."""
    built_in = [
        variant
        for method in registry.methods.values()
        if registry.distributions[method.name] == BUILTIN
        for variant in method.variants
    ]
    place = {name: index for index, name in enumerate(LAST, start=1)}
    return sorted([*built_in, *BY_PREFIX], key=lambda name: place.get(name, 0))


def machine() -> str:
    """What a row depends on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor()
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    return f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}."


def export_one(name: str) -> str:
    """The row of one export, made in this process.

    Raises:
        SetupError: it fails.
    """
    import torch  # so that the time is the export's alone

    from kokeshi.export import export
    from kokeshi.export.verify import in_words

    registry = discover()
    method, _, _ = registry.resolve(name)
    parameters = 0
    spreads: dict[tuple[str, str, str], float] = {}

    def watched(options: Options) -> Recipe:
        nonlocal parameters
        recipe = method.build(options)
        parameters = sum(parameter.numel() for parameter in recipe.network.parameters())
        for part in recipe.parts:
            spreads.update(calibrate(part))
        return recipe

    torch.set_num_threads(os.cpu_count() or 1)
    offered = Registry.of([(registry.distributions[method.name], replace(method, build=watched))])
    with TemporaryDirectory() as folder:
        started_s = time.perf_counter()
        cards = export(name, repository=Path(folder, "models"), untrained=True, registry=offered)
        took_s = time.perf_counter() - started_s
        files = Path(folder).rglob("model.onnx*")
        graph_bytes = sum(file.stat().st_size for file in files)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = [
        f"{in_words(one)}; {spreads[card.role, one.output, one.measure]:.2g} apart"
        for card in cards
        for one in card.parity.agreements
    ]
    return (
        f"| `{name}` | {parameters / 1e6:.1f} | {graph_bytes / 1e6:.1f} | {took_s:.0f} | "
        f"{peak_kb * 1024 / 1e9:.1f} | {datetime.now(UTC).date()} | {'<br>'.join(told)} |"
    )


def calibrate(part: Part) -> dict[tuple[str, str, str], float]:
    """Gives batch normalisation the statistics of real rows, of which it began with none.

    Returns:
        Under (role, output, measure), the least difference between two of the rows.
    """
    import torch

    from kokeshi.export.graph import Graph
    from kokeshi.export.samples import batches
    from kokeshi.export.verify import measures

    real = [batch for batch in batches(part.input, part.files) if batch.real]
    graph = Graph(part).eval()
    rows = torch.from_numpy(real[-1].rows)
    for module in graph.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
            module.train()
    with torch.no_grad():
        graph(rows)
        values = [value.double().numpy() for value in graph.eval()(rows)]
    return {
        (part.role, output.name, measure.name): least_apart(measure, value)
        for output, value in zip(part.outputs, values, strict=True)
        for measure in measures(output)
    }


def least_apart(measure: "Measure", values: NDArray[np.float64]) -> float:
    """The least difference between neighbouring rows of one output, (N, ...)."""
    found = measure.per_row(values, np.roll(values, 1, axis=0))
    return float(1 - found.max() if measure.at_least else found.min())


def export_in_a_process(name: str) -> str:
    """The row of one export; of one that fails, with the reason."""
    done = subprocess.run(
        ["nice", "-n", "10", sys.executable, __file__, "--one", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip().rpartition("\n")[2]
    reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
    return f"| `{name}` | | | | | {datetime.now(UTC).date()} | failed: {reason} |"


def kept_rows(page: Path) -> dict[str, str]:
    """The rows that stand on the page and need not be measured again."""
    content = page.read_text("utf-8") if page.exists() else ""
    if machine() not in content:
        return {}
    found = ((ROW.match(line), line) for line in content.splitlines())
    return {match["name"]: line for match, line in found if match}


def write(page: Path, wanted: list[str], rows: dict[str, str]) -> None:
    """Writes the page: rows in the order of the methods, and what was not run."""
    from kokeshi.export.samples import BATCH_SIZES

    sizes = ", ".join(map(str, BATCH_SIZES))
    missing = [f"`{name}`" for name in wanted if name not in rows]
    parts = [
        HEADER.format(batch_sizes=sizes, machine=machine()),
        *(f"{rows[name]}\n" for name in wanted if name in rows),
        f"\nNot run: {', '.join(missing)}.\n" if missing else "\nEvery variant was run.\n",
    ]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("".join(parts), "utf-8")


def run(page: Path, wanted: list[str], todo: list[str], minutes: float) -> Iterator[str]:
    """Exports what is to do and is not on the page, until the time is up; yields each row."""
    rows = kept_rows(page)
    end_s = time.monotonic() + 60 * minutes
    for name in todo:
        if name not in rows and time.monotonic() < end_s:
            rows[name] = export_in_a_process(name)
            write(page, wanted, rows)
            yield rows[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every variant")
    parser.add_argument("--fresh", action="store_true", help="forget what the page says")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none later")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(export_one(asked.names[0]))
        return
    if asked.fresh:
        asked.page.unlink(missing_ok=True)
    wanted = names(discover())
    for row in run(asked.page, wanted, asked.names or wanted, asked.minutes):
        print(row, flush=True)


if __name__ == "__main__":
    main()
