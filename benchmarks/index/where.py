"""Where the time of one search goes, by stage, in a store that a row has built.

    python benchmarks/index/where.py [--data hard] [--scale 1] [--breadth 128]

Times are of cProfile, which makes Python slower than it is: shares are worth more than sums. The
first line is without it.
"""

import argparse
import cProfile
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from arrays import FOLDER, Data, data_of
from peers.kokeshi_store import Contestant
from rows_graphs import graph_rows

# What a stage is known by in the profile: a file's end and a function.
STAGES = {
    "the whole search": ("kokeshi_store.py", "_search"),
    "masks of filter, tenant and the dead": ("snapshot.py", "allowed"),
    "the plan": ("plan.py", "plan"),
    "the walk, FAISS's own": ("~", "IndexHNSW_search"),
    "candidates by codes": ("scan.py", "shortlists"),
    "candidates in float32": ("scan.py", "nearest"),
    "exact ranking of candidates": ("settle.py", "settle"),
    "reading the hits' rows": ("answer.py", "_read"),
    "making hits of them": ("answer.py", "_hits"),
}


def stages(profile: cProfile.Profile, searches: int) -> dict[str, float]:
    """Microseconds of a search in each stage, with all that it calls."""
    told = dict.fromkeys(STAGES, 0.0)
    profile.create_stats()
    for (file, _, function), entry in profile.stats.items():
        for name, (end, part) in STAGES.items():
            is_it = part == function if end != "~" else part in function
            if is_it and file.endswith(end):
                told[name] += round(1e6 * entry[3] / searches, 1)
    return {name: each for name, each in told.items() if each}


def profiled(peer: Contestant, data: Data, dial: dict[str, Any]) -> None:
    find, queries = peer.searcher(dial), data.queries.copy()
    for query in queries[:50]:
        find(query)
    seconds = []
    for query in queries:
        start = time.perf_counter()
        find(query)
        seconds.append(time.perf_counter() - start)
    p50_us = round(1e6 * float(np.median(seconds)), 1)
    print(json.dumps({"data": data.name, "dial": dial, "p50_us": p50_us, **peer.tell()}))
    profile = cProfile.Profile()
    profile.enable()
    for query in queries:
        find(query)
    profile.disable()
    for name, each in stages(profile, len(queries)).items():
        print(f"  {each:9.1f} us  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="hard")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--contestant", default="kokeshi", help="whose store it is")
    parser.add_argument("--breadth", type=int)
    parser.add_argument("--shortlist", type=int)
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args()
    data = data_of(arguments.data, arguments.scale, arguments.folder)
    given = {name: getattr(arguments, name) for name in ("breadth", "shortlist", "exact")}
    dial = {name: each for name, each in given.items() if each}
    if "shortlist" in dial:
        dial["rerank"] = True
    peer = Contestant()
    settings = {"hnsw_rows": graph_rows(arguments.scale)}
    peer.open(arguments.folder / "built" / f"{data.folder.name}-{arguments.contestant}", settings)
    try:
        profiled(peer, data, dial)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
