"""Throughput, processor time and memory with one process, and with gateway workers.

    python benchmarks/workers.py REPOSITORY PERF_ANALYZER [--rounds 3] [--jpeg PICTURE]

REPOSITORY holds `negate` (a graph of microseconds) and `resnet18`. The load comes from a core of
its own, and the server has the others; where there are but two, a second gateway finds no core, and
what is left to see is what the way through the engine's process costs, and which process pays for
it. From that `estimate` says on paper what a machine with more cores would do.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

LISTENING = re.compile(r"listening on http://(\S+)  grpc://(\S+)\n")
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORES = CORES[-1], CORES[:-1] or CORES
WAYS = {"one process": 1, "2 workers": 2, "3 workers": 3}
WINDOW_MS = 2000
PAPER_CORES = 16


@dataclass
class Spent:
    """One run: rate in requests a second, microseconds of processor time for each request."""

    rate: float
    gateway_us: float
    engine_us: float


@contextmanager
def serving(repository: Path, workers: int) -> Iterator[tuple[str, str, int]]:
    """Addresses of the doors and the parent's process id."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["taskset", "-c", ",".join(map(str, SERVER_CORES)), sys.executable, "-m"]
        command += ["kokeshi", "serve", "--allow-untrained", "--repository", str(repository)]
        command += ["--workers", str(workers), "--data", folder, "--log-level", "WARNING"]
        command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        http, grpc = LISTENING.fullmatch(process.stdout.readline()).groups()
        try:
            wait_until_ready(http)
            yield http, grpc, process.pid
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(http: str) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://{http}/v1/health/ready", timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)


def processes(parent: int) -> dict[str, psutil.Process]:
    """By what they are; a server of one process is a gateway."""
    children = psutil.Process(parent).children()
    if not children:
        return {"gateway 0": psutil.Process(parent)}
    named = ["engine", *(f"gateway {number}" for number in range(len(children) - 1))]
    return dict(zip(named, sorted(children, key=psutil.Process.create_time), strict=True))


def busy_s(found: dict[str, psutil.Process], kind: str) -> float:
    return sum(sum(it.cpu_times()[:2]) for name, it in found.items() if name.startswith(kind))


def measured(parent: int, load) -> Spent:
    """Runs a load, which returns its rate and how many requests it sent."""
    found = processes(parent)
    before = busy_s(found, "gateway"), busy_s(found, "engine")
    rate, count = load()
    after = busy_s(found, "gateway"), busy_s(found, "engine")
    return Spent(rate, *((b - a) / count * 1e6 for a, b in zip(before, after, strict=True)))


def tensors(analyzer: Path, grpc: str, model: str, concurrency: int):
    """perf_analyzer on the core of the load."""

    def load() -> tuple[float, int]:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.csv")
            command = ["taskset", "-c", str(LOAD_CORE), analyzer, "-m", model, "-u", grpc]
            command += ["-i", "grpc", "-f", report, "-p", str(WINDOW_MS), "-s", "999", "-r", "3"]
            command += ["--concurrency-range", str(concurrency)]
            before = answered(grpc)
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            with report.open() as file:
                rate = float(next(csv.DictReader(file))["Inferences/Second"])
            return rate, answered(grpc) - before

    return load


def answered(grpc: str) -> int:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(grpc) as client:
        told = client.get_inference_statistics(as_json=True)
    return sum(int(it["inference_stats"]["success"].get("count", 0)) for it in told["model_stats"])


def pictures(http: str, model: str, picture: bytes, threads: int, seconds: float):
    """JPEG bytes over HTTP, by a process on the core of the load."""

    def load() -> tuple[float, int]:
        command = ["taskset", "-c", str(LOAD_CORE), sys.executable, __file__, "load", http, model]
        done = subprocess.run(
            [*command, str(threads), str(seconds)], input=picture, capture_output=True, check=True
        )
        count = int(done.stdout)
        return count / seconds, count

    return load


def post_pictures(http: str, model: str, threads: str, seconds: str) -> None:
    """The process of `pictures`: each thread keeps a connection and posts; prints how many."""
    from http.client import HTTPConnection

    body, counts, end_s = sys.stdin.buffer.read(), [], time.monotonic() + float(seconds)

    def post() -> None:
        connection, count = HTTPConnection(http), 0
        while time.monotonic() < end_s:
            headers = {"content-type": "image/jpeg"}
            connection.request("POST", f"/v1/models/{model}/classify", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            count += 1
        counts.append(count)

    running = [threading.Thread(target=post) for _ in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(sum(counts))


def memory_mib(parent: int) -> dict[str, float]:
    found = {"parent": psutil.Process(parent), **processes(parent)}
    return {name: round(it.memory_full_info().uss / 2**20, 1) for name, it in found.items()}


def estimate(spent: Spent, cores: int = PAPER_CORES) -> dict[str, float]:
    """Requests a second on paper, where the graph itself costs no processor time (a GPU has it).

    A gateway is bound by its one interpreter, and so is the engine's process: with `cores` - 1
    gateways it is whichever is less, all gateways together or the engine.
    """
    gateways = (cores - 1) * 1e6 / spent.gateway_us
    engine = 1e6 / spent.engine_us if spent.engine_us else gateways
    return {
        "gateways": round(gateways),
        "engine": round(engine),
        "rate": round(min(gateways, engine)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("analyzer", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jpeg", type=Path)
    asked = parser.parse_args()
    runs: dict[tuple[str, str], list[Spent]] = {}
    memory = {}
    for _ in range(asked.rounds):
        for way, workers in WAYS.items():
            with serving(asked.repository, workers) as (http, grpc, parent):
                for name, load in loads(asked, http, grpc):
                    runs.setdefault((name, way), []).append(measured(parent, load))
                memory[way] = memory_mib(parent)
    for (name, way), spents in runs.items():
        spent = Spent(
            *(
                statistics.median(getattr(each, field) for each in spents)
                for field in ("rate", "gateway_us", "engine_us")
            )
        )
        paper = estimate(spent) if spent.engine_us else None
        line = {key: round(number, 1) for key, number in vars(spent).items()}
        print(json.dumps({"load": name, "way": way, **line, f"on {PAPER_CORES} cores": paper}))
    print(json.dumps({"memory_mib": memory}))


def loads(asked: argparse.Namespace, http: str, grpc: str):
    for concurrency in (1, 16):
        yield f"negate, {concurrency}", tensors(asked.analyzer, grpc, "negate", concurrency)
    if asked.jpeg:
        yield "JPEG, resnet18, 8", pictures(http, "resnet18", asked.jpeg.read_bytes(), 8, 6.0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        post_pictures(*sys.argv[2:])
    else:
        main()
