"""What every row of the benchmark is handed: its scale, and where its lines go."""

import json
import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from arrays import Data, data_of
from race import CLIENTS, RECALL, SLOW_S, TURN, TURNS, Entry, Racer, Times, started, take_turns


@dataclass
class Run:
    """One run of the benchmark.

    Attributes:
        scale: share of the rows of each set.
        reuse: takes what peers built in an earlier run, with the seconds that they took then.
        skipped: contestants that do not take part.
    """

    scale: float
    folder: Path
    reuse: bool = False
    skipped: Sequence[str] = ()
    row: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)

    def data(self, name: str) -> Data:
        """A set, told of before anything that is measured on it."""
        data = data_of(name, self.scale, self.folder)
        self.tell(**data.told)
        return data

    def tell(self, **values: Any) -> None:
        """Prints one line, and keeps it for the page."""
        line = {"row": self.row, "scale": self.scale, **values}
        self.lines.append(line)
        print(json.dumps(line), flush=True)
        with (self.folder / "lines.jsonl").open("a") as kept:
            kept.write(json.dumps(line) + "\n")

    def want(self, what: str, value: float | None, limit: float, *, at_most: bool = True) -> None:
        """Says whether a wanted figure was reached; None: nothing could be measured."""
        is_reached = value is not None and (value <= limit if at_most else value >= limit)
        self.tell(
            wanted=what,
            limit=limit,
            sense="at most" if at_most else "at least",
            value=None if value is None else round(value, 4),
            reached=bool(is_reached),
        )

    def build(self, racer: Racer, *, reuse: bool | None = None) -> dict[str, Any]:
        """Builds one contestant; ours is always built anew unless told otherwise."""
        is_kept = (self.reuse and not racer.entry.is_ours) if reuse is None else reuse
        built = racer.build(reuse=is_kept)
        built["is_reused"] = "open_s" in built
        return built

    def race(
        self, entries: Sequence[Entry], data: Data, *, clients: bool = True
    ) -> dict[str, "Result"]:
        """Builds, tunes to the recall, then lets all of them take turns; one line each."""
        with ExitStack() as stack:
            racers = started(stack, [each for each in entries if each.name not in self.skipped],
                             data, self.folder)  # fmt: skip
            results = {racer.entry.name: Result(racer, self.build(racer)) for racer in racers}
            for result in results.values():
                result.dial, result.recall = result.racer.tuned()
            self.take_turns(list(results.values()), clients=clients)
            for result in results.values():
                result.size = result.racer.ask("measure", folder=str(result.racer.place))
                self.tell(**result.told())
        return results

    def take_turns(self, results: Sequence["Result"], *, clients: bool) -> None:
        """One client, then sixteen, among contestants of like speed: none waits for a slow one."""
        probes = [one.racer.search(one.dial, 3)["seconds"] for one in results]
        for is_slow in (False, True):
            group = [
                one
                for one, probe in zip(results, probes, strict=True)
                if (min(probe) > SLOW_S) is is_slow
            ]
            if not group:
                continue
            pairs = [(one.racer, one.dial) for one in group]
            for one, times in zip(group, take_turns(pairs), strict=True):
                one.one_client = times
            if clients:
                turns, count = (2, 2) if is_slow else (4, TURN)
                found = take_turns(pairs, clients=CLIENTS, turns=turns, count=count)
                for one, times in zip(group, found, strict=True):
                    one.many_clients = times


@dataclass
class Result:
    """What one contestant did."""

    racer: Racer
    built: dict[str, Any]
    dial: dict[str, Any] = field(default_factory=dict)
    recall: float = 0.0
    one_client: Times = field(default_factory=Times)
    many_clients: Times = field(default_factory=Times)
    size: dict[str, int] = field(default_factory=dict)

    @property
    def p50_s(self) -> float:
        return self.one_client.p50_s

    def told(self) -> dict[str, Any]:
        rows = len(self.racer.data.rows)
        told: dict[str, Any] = {
            "data": self.racer.data.name,
            "contestant": self.racer.entry.name,
            "dial": self.dial,
            "recall": round(self.recall, 4),
            **self.one_client.told(),
        }
        if self.many_clients.seconds:
            told |= self.many_clients.told(f"_{CLIENTS}")
        per_row = {
            name.replace("bytes", "bytes_per_row"): round(size / rows, 1)
            for name, size in self.size.items()
        }
        return {**told, **per_row, **self.built}


def ratio(one: Result | None, other: Result | None) -> float | None:
    """How much of the other's p50 one takes; None where one was skipped, or finds too little."""
    if one is None or other is None or one.recall < RECALL:
        return None
    return one.p50_s / other.p50_s


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {
        "machine": name or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "turns": TURNS,
        "queries_per_turn": TURN,
    }
