"""Every load mode that NVIDIA's perf_analyzer has, against Kokeshi's gRPC door.

    python benchmarks/serving/modes.py [--folder FOLDER]

perf_analyzer ends with an error where any answer is one, so a line that is printed is a mode that
works.
"""

import argparse
import tempfile
from pathlib import Path

import kokeshi_server
from analyzer import Analyzer
from models import NEGATE, make

CLOSED = ("--concurrency-range", "4")
MODES = {
    "concurrency, synchronous": ("--sync", *CLOSED),
    "concurrency, asynchronous": ("--async", *CLOSED),
    "concurrency, streaming": ("--async", "--streaming", *CLOSED),
    "concurrency, a range": ("--concurrency-range", "1:4:2"),
    "request rate, constant": ("--request-rate-range", "100"),
    "request rate, Poisson": ("--request-rate-range", "100", "--request-distribution", "poisson"),
    "request rate, a search": (
        "--request-rate-range", "50:200:25", "--binary-search", "--latency-threshold", "50",
    ),
    "periodic concurrency": (
        "--async", "--streaming", "--periodic-concurrency-range", "1:4:1", "--request-period", "1",
        "--profile-export-file", "{profile}",
    ),
    "intervals from a file": ("--request-intervals", "{intervals}"),
    "batches of 8": ("-b", "8", *CLOSED),
    "system shared memory": (
        "--shared-memory", "system", "--output-shared-memory-size", "1024", *CLOSED,
    ),
    "random data": ("--input-data", "random", *CLOSED),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    asked = parser.parse_args()
    make(asked.folder / "models")
    analyzer = Analyzer(asked.folder / "environments")
    with (
        kokeshi_server.running(asked.folder / "models") as server,
        tempfile.TemporaryDirectory() as scratch,
        Path(scratch, "intervals").open("w") as intervals,
    ):
        intervals.write("\n".join(["10000"] * 100))  # microseconds
        intervals.flush()
        for name, flags in MODES.items():
            names = {"intervals": intervals.name, "profile": f"{intervals.name}.json"}
            filled = [flag.format(**names) for flag in flags]
            lines = analyzer(server.grpc, NEGATE, *filled)
            told = ", ".join(f"{line.rate:.0f}/s" for line in lines) or answered(names["profile"])
            print(f"{name:28} {told}", flush=True)


def answered(profile: str) -> str:
    """How many requests an exported profile holds; its tensors are no text, so it is no JSON."""
    return f"{Path(profile).read_bytes().count(b'response_timestamps')} requests"


if __name__ == "__main__":
    main()
