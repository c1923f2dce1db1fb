"""Contestants as the benchmark sees them: started, built one after the other, asked in turns."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from arrays import QUERIES, Data

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0))
POOLS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip
RECALL = 0.98
TURN = 25  # queries that a contestant answers before the next one's turn
TURNS = 12
WARM = 5
CLIENTS = 16
SLOW_S = 0.05  # who takes longer for a query gets fewer of 16 clients' turns

PACKAGES = (
    "faiss-cpu==1.15.1", "usearch==2.26.6", "hnswlib==0.8.0", "qdrant-client==1.20.0",
    "qdrant-edge-py==0.9.0", "milvus-lite==3.2.2", "pymilvus==3.0.2", "lancedb==0.40.0",
    "numpy", "psutil", "pyarrow",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Who takes part.

    Attributes:
        name: as it is printed.
        kind: the file in `peers`.
        settings: of the build, see `peers.peer.Peer`.
        ladder: dials, cheapest first; a row takes the first that reaches the recall.
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    ladder: Sequence[dict[str, Any]] = ({},)

    @property
    def is_ours(self) -> bool:
        return self.kind.startswith("kokeshi")


def peers_python(folder: Path) -> Path:
    """Python of the environment with all peers, made where it is not there."""
    place = folder.parent / "environments" / "vectors"
    if not (place / "complete").exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", place], check=True)
        wanted = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", *PACKAGES]
        subprocess.run(wanted, check=True)
        (place / "complete").touch()
    return place / "bin" / "python"


class Racer:
    """One contestant's process, over one set."""

    def __init__(self, entry: Entry, data: Data, folder: Path) -> None:
        self.entry, self.data = entry, data
        self.place = folder / "built" / f"{data.folder.name}-{entry.name}"
        self.settings = {
            "lengths": data.lengths,
            "shares": str(data.folder / "shares.npy"),
            **entry.settings,
        }
        python = sys.executable if entry.is_ours else peers_python(folder)
        command = [python, str(HERE / "worker.py"), entry.kind]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_pools(),
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.entry.name} ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.entry.name}: {answer['error']}")
        return answer

    def build(self, *, reuse: bool) -> dict[str, Any]:
        """Builds, or opens what was built before."""
        if not reuse:
            shutil.rmtree(self.place, ignore_errors=True)
        return self.ask(
            "build",
            rows=str(self.data.folder / "rows.npy"),
            folder=str(self.place),
            settings=self.settings,
            reuse=reuse,
        )

    def search(
        self,
        dial: dict[str, Any],
        count: int,
        *,
        first: int = 0,
        clients: int = 1,
        warm: int = WARM,
    ) -> dict[str, Any]:
        queries = str(self.data.folder / "queries.npy")
        order = {"first": first, "count": count, "clients": clients, "warm": warm}
        return self.ask("search", queries=queries, dial=dial, **order)

    def batch(self, dial: dict[str, Any], count: int, size: int, first: int = 0) -> dict[str, Any]:
        queries = str(self.data.folder / "queries.npy")
        return self.ask("batch", queries=queries, dial=dial, first=first, count=count, size=size)

    def tuned(self, wanted: float = RECALL, count: int = QUERIES) -> tuple[dict[str, Any], float]:
        """The first dial of the ladder that reaches the recall, or the last; recall rises along."""
        ladder = self.entry.ladder
        low, high = 0, len(ladder) - 1
        recalls: dict[int, float] = {}
        while low < high:
            middle = (low + high) // 2
            recalls[middle] = self.recall(ladder[middle], count)
            low, high = (low, middle) if recalls[middle] >= wanted else (middle + 1, high)
        return ladder[low], recalls.get(low) or self.recall(ladder[low], count)

    def recall(self, dial: dict[str, Any], count: int = QUERIES) -> float:
        found = self.search(dial, count)["ids"]
        return self.data.recall(found, self.data.least[:count])


def _pools() -> dict[str, str]:
    """All contestants may use all cores, and none waits for work in a loop."""
    sizes = dict.fromkeys(POOLS, str(CORES))
    return {**os.environ, **sizes, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Times:
    """What one contestant took, at one dial."""

    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0

    def add(self, answer: dict[str, Any]) -> None:
        self.seconds += answer["seconds"]
        self.wall_s += answer["wall_s"]

    @property
    def p50_s(self) -> float:
        return float(np.median(self.seconds))

    def told(self, end: str = "") -> dict[str, float]:
        told = {
            f"p50_ms{end}": round(1e3 * self.p50_s, 4),
            f"p95_ms{end}": round(1e3 * float(np.percentile(self.seconds, 95)), 4),
            f"queries{end}": len(self.seconds),
        }
        if self.wall_s and end:
            told[f"per_s{end}"] = round(len(self.seconds) / self.wall_s, 1)
        return told


def take_turns(
    racers: Sequence[tuple[Racer, dict[str, Any]]],
    *,
    clients: int = 1,
    turns: int = TURNS,
    count: int = TURN,
) -> list[Times]:
    """Each answers a few queries, then the next does: a busy machine slows all of them.

    `count` is of one client's queries.
    """
    times = [Times() for _ in racers]
    for turn in range(turns):
        order = range(turn % len(racers), turn % len(racers) + len(racers))
        for number in (each % len(racers) for each in order):
            racer, dial = racers[number]
            asked = count * clients
            answer = racer.search(dial, asked, first=turn * asked, clients=clients)
            times[number].add(answer)
    return times


def started(stack: ExitStack, entries: Sequence[Entry], data: Data, folder: Path) -> list[Racer]:
    """Processes of contestants, that end with the stack."""
    return [stack.enter_context(Racer(entry, data, folder)) for entry in entries]
