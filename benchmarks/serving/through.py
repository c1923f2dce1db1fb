"""A gateway in front of Triton against Triton itself, with the same tensors, by perf_analyzer.

    python benchmarks/serving/through.py [--folder FOLDER] [--rounds 3] [--model resnet18]

perf_analyzer asks Kokeshi's KServe door, and behind it is the very Triton that it asks directly in
the next turn; the medians are compared.
"""

import argparse
import json
import statistics
from pathlib import Path

import kokeshi_server
from analyzer import Analyzer
from models import make
from tensor import triton

CONCURRENCIES = (1, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="resnet18")
    asked = parser.parse_args()
    repository = asked.folder / "models"
    make(repository)
    analyzer = Analyzer(asked.folder / "environments")
    with (
        triton(repository) as direct,
        kokeshi_server.running(repository, "--engine", f"triton://{direct}") as gateway,
    ):
        for concurrency in CONCURRENCIES:
            pairs = []
            for _ in range(asked.rounds):
                flags = ("--concurrency-range", str(concurrency))
                pairs.append(
                    [
                        analyzer(address, asked.model, *flags)[0].rate
                        for address in (gateway.grpc, direct)
                    ]
                )
            ours, theirs = (statistics.median(rates) for rates in zip(*pairs, strict=True))
            print(
                json.dumps(
                    {
                        "model": asked.model,
                        "concurrency": concurrency,
                        "gateway": ours,
                        "direct": theirs,
                        "ratio": ours / theirs,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
