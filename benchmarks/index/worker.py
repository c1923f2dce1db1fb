"""A contestant in a process of its own: builds, and answers what the benchmark sends.

    python benchmarks/index/worker.py faiss_graph

One JSON object per line comes in and one goes out. Only what a query takes is timed: neither the
lines nor the start of threads are. Runs in any environment that has NumPy and psutil.
"""

import gc
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import psutil

KIB = 1024
BUILT = "built.json"


def memory() -> dict[str, int]:
    """Bytes of this process and its children: their own, and those of mapped files in memory."""
    own = mapped = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(rest.split()[0]) * KIB for name, _, rest in
                 (line.partition(":") for line in lines)}  # fmt: skip
        own += sizes["Anonymous"]
        mapped += sizes["Rss"] - sizes["Anonymous"]
    return {"own": own, "mapped": mapped}


def disk_bytes(folder: Path) -> int:
    """What the files below take on the disk; holes do not count."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def trim() -> None:
    gc.collect()
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


class Worker:
    """Keeps one peer, see `peers.peer.Peer`."""

    def __init__(self, kind: str) -> None:
        self.peer = importlib.import_module(f"peers.{kind}").Contestant()
        self.queries: dict[str, Any] = {}
        self.before = memory()

    def build(self, rows: str, folder: str, settings: dict[str, Any], reuse: bool) -> dict:
        place = Path(folder)
        trim()
        self.before = memory()
        told = place / BUILT
        if reuse and told.exists():
            start = time.perf_counter()
            self.peer.open(place, settings)
            open_s = round(time.perf_counter() - start, 3)
            return {**json.loads(told.read_text()), "open_s": open_s}
        place.mkdir(parents=True)
        start = time.perf_counter()
        notes = self.peer.build(np.load(rows, mmap_mode="r"), place, settings)
        built = {"build_s": round(time.perf_counter() - start, 3), **notes}
        told.write_text(json.dumps(built))
        return built

    def measure(self, folder: str) -> dict:
        trim()
        now = memory()
        return {
            "own_bytes": now["own"] - self.before["own"],
            "mapped_bytes": max(0, now["mapped"] - self.before["mapped"]),
            "disk_bytes": disk_bytes(Path(folder)),
        }

    def search(
        self, queries: str, dial: dict, first: int, count: int, clients: int, warm: int
    ) -> dict:
        chosen = self._chosen(queries, first, count)
        find = self.peer.searcher(dial)
        for query in self._chosen(queries, first + count, warm):
            find(query)
        if clients == 1:
            return one_by_one(find, chosen)
        return at_once(find, chosen, clients)

    def batch(self, queries: str, dial: dict, first: int, count: int, size: int) -> dict:
        chosen = self._chosen(queries, first, count)
        find = self.peer.batcher(dial)
        find(chosen[:size])
        seconds, found = [], []
        for start in range(0, count, size):
            began = time.perf_counter()
            found.extend(find(chosen[start : start + size]))
            seconds.append((time.perf_counter() - began) / size)
        return {"seconds": seconds, "ids": _lists(found)}

    def ingest(self, rows: str, folder: str, settings: dict, count: int, size: int) -> dict:
        vectors = np.array(np.load(rows, mmap_mode="r")[:count])
        place = Path(folder)
        place.mkdir(parents=True)
        return {"seconds": self.peer.ingest(vectors, place, settings, size)}

    def tell(self) -> dict:
        return self.peer.tell()

    def _chosen(self, path: str, first: int, count: int) -> Any:
        if path not in self.queries:
            self.queries[path] = np.load(path)
        queries = self.queries[path]
        return queries[np.arange(first, first + count) % len(queries)].copy()


def one_by_one(find: Callable[[Any], Sequence[int]], queries: Any) -> dict:
    seconds, found = [], []
    for query in queries:
        began = time.perf_counter()
        answer = find(query)
        seconds.append(time.perf_counter() - began)
        found.append(answer)
    return {"seconds": seconds, "wall_s": sum(seconds), "ids": _lists(found)}


def at_once(find: Callable[[Any], Sequence[int]], queries: Any, clients: int) -> dict:
    """So many clients, each of which asks its next query as soon as the last one is answered."""
    gate = threading.Barrier(clients + 1)

    def client(number: int) -> dict:
        mine = queries[number::clients]
        gate.wait()
        return one_by_one(find, mine)

    with ThreadPoolExecutor(clients) as pool:
        waiting = [pool.submit(client, number) for number in range(clients)]
        gate.wait()
        began = time.perf_counter()
        answers = [each.result() for each in waiting]
        wall_s = time.perf_counter() - began
    ids: list[Any] = [None] * len(queries)
    for number, answer in enumerate(answers):
        ids[number::clients] = answer["ids"]
    seconds = [second for answer in answers for second in answer["seconds"]]
    return {"seconds": seconds, "wall_s": wall_s, "ids": ids}


def _lists(found: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[int(number) for number in ids] for ids in found]


def serve(kind: str, lines: TextIO, answers: TextIO) -> None:
    worker = Worker(kind)
    for line in lines:
        order = json.loads(line)
        try:
            answer = getattr(worker, order.pop("do"))(**order)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    worker.peer.close()


def main() -> None:
    # what a library prints must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin, answers)


if __name__ == "__main__":
    main()
