"""Tensor in, tensor out over KServe's gRPC: Kokeshi against a local Triton, by perf_analyzer.

    python benchmarks/serving/tensor.py [--folder FOLDER] [--rounds 3] [--model negate ...]

The two are measured in turn, `rounds` times, and the medians are compared. Triton is the server of
NVIDIA's wheel, with the models behind Kokeshi's Python-based backend, as `kokeshi triton install`
lays it out.
"""

import argparse
import asyncio
import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kokeshi_server
from analyzer import Analyzer
from models import NEGATE, make

CONCURRENCIES = (1, 8, 16, 64)


@contextmanager
def triton(repository: Path) -> Iterator[str]:
    """A local Triton's gRPC address while the context lasts."""
    from kokeshi.engines.triton.installation import default_folder, find_tritonserver
    from kokeshi.engines.triton.local import LocalTriton

    loop = asyncio.new_event_loop()
    server = LocalTriton(find_tritonserver(default_folder()), repository)
    loop.run_until_complete(server.start())
    try:
        yield server.address
    finally:
        loop.run_until_complete(server.close())
        loop.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", nargs="*", default=[NEGATE, "resnet18"])
    parser.add_argument("--flags", default="", help="of kokeshi serve, with spaces")
    asked = parser.parse_args()
    repository = asked.folder / "models"
    make(repository)
    analyzer = Analyzer(asked.folder / "environments")
    for model in asked.model:
        rates = measured(analyzer, repository, model, asked.rounds, asked.flags.split())
        for concurrency, (ours, theirs) in rates.items():
            print(
                json.dumps(
                    {
                        "model": model,
                        "concurrency": concurrency,
                        "kokeshi": ours,
                        "triton": theirs,
                        "ratio": ours / theirs,
                    }
                ),
                flush=True,
            )


def measured(
    analyzer: Analyzer, repository: Path, model: str, rounds: int, flags: list[str]
) -> dict[int, tuple[float, float]]:
    """By concurrency, the median rates of Kokeshi and Triton."""
    found: dict[int, list[tuple[float, float]]] = {each: [] for each in CONCURRENCIES}
    with kokeshi_server.running(repository, *flags) as ours, triton(repository) as theirs:
        for _ in range(rounds):
            for concurrency in CONCURRENCIES:
                asked = ("--concurrency-range", str(concurrency))
                pair = [analyzer(address, model, *asked) for address in (ours.grpc, theirs)]
                found[concurrency].append((pair[0][0].rate, pair[1][0].rate))
    return {
        each: tuple(statistics.median(rates) for rates in zip(*pairs, strict=True))
        for each, pairs in found.items()
    }


if __name__ == "__main__":
    main()
