"""Kernels of the index against the speed of memory and against FAISS as it comes, in one run.

    python benchmarks/index/kernels.py [--rows 50000] [--dim 1024] [--graphs]

Rows are those of `hard_set`. All contestants take turns, one round after the other, so that a busy
machine slows all of them; medians are compared, and minima are shown beside them. The roof is the
most bytes per second that the pool's threads read from memory, measured in the same rounds.
"""

import argparse
import functools
import itertools
import os
import platform
import time
from collections.abc import Callable

import faiss
import numpy as np
import numpy.typing as npt
from hard_set import Vectors, exact, hard_set, prefix, prefix_recalls, recall

from kokeshi.index import Tuning, forms
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels import POOL, Part, encode, nearest, settle, shortlists

K = 10
SHORTLIST = 500
BATCH = 16
SEGMENT_ROWS = 65_536
ROOF_BYTES = 2**29  # far more than the caches hold
BREADTHS = (128, 256, 512)
SHORTLISTS = (100, 200, 500)

Positions = npt.NDArray[np.intp]
Race = dict[str, list[float]]
Search = Callable[[int], Positions]


class Data:
    """The hard set, cut as a collection is."""

    def __init__(self, rows: int, dim: int, queries: int) -> None:
        self.rows, self.queries = hard_set(rows, dim, queries)
        lengths = tuple(length for length in (64, 128, 192, 256, 512) if length < dim)
        self.geometry = Geometry("cosine", (*lengths, dim))
        self.blocks = [
            self.geometry.block(np.arange(start, min(start + SEGMENT_ROWS, rows)), chunk)
            for start in range(0, rows, SEGMENT_ROWS)
            for chunk in [self.rows[start : start + SEGMENT_ROWS]]
        ]
        self.wanted = exact(self.rows, self.queries, K)

    def parts(self, width: int | None = None) -> list[Part]:
        codes = [width and encode(self.geometry, block, width) for block in self.blocks]
        return [Part(block, code or None) for block, code in zip(self.blocks, codes, strict=True)]


def race(contestants: dict[str, Callable[[int], object]], rounds: int) -> Race:
    """Seconds of each contestant in each round; the first round warms up."""
    times: Race = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant(number)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def show(name: str, seconds: list[float], *notes: str) -> None:
    middle, least = 1e3 * np.median(seconds), 1e3 * min(seconds)
    print(f"  {name:44} {middle:9.3f} ms  (least {least:9.3f})  {'  '.join(notes)}", flush=True)


def read_memory() -> tuple[Callable[[int], object], int]:
    """A reader of memory by all threads, and how many bytes it reads."""
    words = np.ones(ROOF_BYTES // 8, np.int64)
    pieces = np.split(words, 64)
    return lambda _: POOL.map(np.max, pieces), words.nbytes


def scan_float(data: Data, rounds: int) -> None:
    parts, geometry = data.parts(), data.geometry
    flat = faiss.IndexFlatIP(geometry.dim)
    flat.add(data.rows)
    firsts = [geometry.query(query, geometry.dim) for query in data.queries]
    reader, roof_bytes = read_memory()

    def ours(number: int, count: int) -> None:
        chosen = [firsts[(number * count + i) % len(firsts)] for i in range(count)]
        for query, found in zip(chosen, nearest(geometry, parts, chosen, K), strict=True):
            settle(geometry, parts, found, query, K)

    def theirs(number: int, count: int) -> None:
        start = number * count % (len(data.queries) - count)
        by_faiss(flat, data.queries[start : start + count], K)

    times = race(
        {
            "roof": reader,
            "one": lambda number: ours(number, 1),
            "faiss one": lambda number: theirs(number, 1),
            "batch": lambda number: ours(number, BATCH),
            "faiss batch": lambda number: theirs(number, BATCH),
        },
        rounds,
    )
    roof = roof_bytes / np.median(times["roof"])
    print(f"exact, float32; roof {roof / 1e9:.1f} GB/s by {POOL.threads} threads")
    share = data.rows.nbytes / np.median(times["one"]) / roof
    show("one query", times["one"], f"{share:.0%} of the roof", ratio(times, "faiss one", "one"))
    show("one query, faiss IndexFlat", times["faiss one"])
    per_query = {name: [each / BATCH for each in times[name]] for name in ("batch", "faiss batch")}
    show(f"each of {BATCH} queries", per_query["batch"], ratio(times, "faiss batch", "batch"))
    show(f"each of {BATCH} queries, faiss IndexFlat", per_query["faiss batch"])


def ratio(times: Race, slow: str, fast: str) -> str:
    return f"{np.median(times[slow]) / np.median(times[fast]):.2f} times {slow}"


def by_faiss(index: object, query: Vectors, k: int) -> None:
    """A search with FAISS's own threads: ours hold the number of a thread's at one."""
    faiss.omp_set_num_threads(POOL.threads)
    index.search(query, k)


def scan_codes(data: Data, width: int, rounds: int) -> None:
    parts, geometry = data.parts(width), data.geometry
    flat = faiss.IndexFlatIP(geometry.dim)
    flat.add(data.rows)
    coarse = {
        "SQ8": faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, flat.metric_type),
        "RaBitQ fast scan": faiss.index_factory(width, "RaBitQfs", flat.metric_type),
    }
    for index in coarse.values():
        short = prefix(data.rows, width)
        index.train(short[:50_000])
        index.add(short)
    reader, roof_bytes = read_memory()
    firsts = [geometry.query(query, width) for query in data.queries]
    search = by_codes(data, parts, width, SHORTLIST)

    def query(number: int) -> Vectors:
        which = number % len(firsts)
        return data.queries[which : which + 1]

    times = race(
        {
            "roof": reader,
            "scan": lambda number: shortlists(
                geometry, parts, [firsts[number % len(firsts)]], SHORTLIST
            ),
            "search": lambda number: search(number % len(firsts)),
            "batch": lambda _: shortlists(geometry, parts, firsts[:BATCH], SHORTLIST),
            "flat": lambda number: by_faiss(flat, query(number), K),
            **{
                name: lambda number, index=index: by_faiss(
                    index, query(number)[:, :width].copy(), SHORTLIST
                )
                for name, index in coarse.items()
            },
        },
        rounds,
    )
    found = np.stack([search(which) for which in range(len(firsts))])
    roof = roof_bytes / np.median(times["roof"])
    share = len(data.rows) * width / np.median(times["scan"]) / roof
    print(f"int8 prefix of {width}, shortlist {SHORTLIST}; roof {roof / 1e9:.1f} GB/s")
    show("scan", times["scan"], f"{share:.0%} of the roof")
    show(f"scan, each of {BATCH}", [each / BATCH for each in times["batch"]])
    show(
        f"scan and exact ranking, recall@{K} {recall(found, data.wanted):.4f}",
        times["search"],
        ratio(times, "flat", "search"),
    )
    show("exact, faiss IndexFlat", times["flat"])
    for name in coarse:
        show(f"shortlist by faiss {name}", times[name])


def walk_graphs(data: Data, widths: list[int], rounds: int) -> None:
    """Graphs on a prefix and at full length, and scans of codes, which need no build."""
    tuning, geometry, parts = Tuning(), data.geometry, data.parts()
    start = time.perf_counter()
    form = forms.build("hnsw", geometry, parts, max(widths), tuning, threads=POOL.threads)
    ours_s = time.perf_counter() - start
    full = faiss.IndexHNSWFlat(geometry.dim, tuning.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    full.hnsw.efConstruction = tuning.ef_construction
    faiss.omp_set_num_threads(POOL.threads)
    start = time.perf_counter()
    full.add(data.rows)
    full_s = time.perf_counter() - start
    print(f"build on {form.first} {ours_s:.1f} s, faiss full {full_s:.1f} s: {ours_s / full_s:.2f}")
    searches: dict[str, Search] = {}
    for breadth in BREADTHS:
        searches[f"faiss HNSW, full length, breadth {breadth}"] = by_full_graph(data, full, breadth)
        searches[f"graph on {form.first}, breadth {breadth}"] = by_graph(data, form, breadth)
    for width, rows in itertools.product(widths, SHORTLISTS):
        coded = by_codes(data, data.parts(width), width, rows)
        searches[f"int8 prefix of {width}, shortlist {rows}"] = coded
    run_searches(data, searches, rounds)


def run_searches(data: Data, searches: dict[str, Search], rounds: int) -> None:
    found = {name: np.zeros((len(data.queries), K), np.intp) for name in searches}

    def contestant(name: str, number: int) -> None:
        which = number % len(data.queries)
        found[name][which] = searches[name](which)

    calls = {name: functools.partial(contestant, name) for name in searches}
    times = race(calls, max(rounds, len(data.queries)))
    for name, seconds in times.items():
        show(name, seconds, f"recall@{K} {recall(found[name], data.wanted):.4f}")


def by_full_graph(data: Data, graph: object, breadth: int) -> Search:
    params = faiss.SearchParametersHNSW(efSearch=breadth)

    def search(which: int) -> Positions:
        faiss.omp_set_num_threads(1)
        return graph.search(data.queries[which : which + 1], K, params=params)[1][0]

    return search


def by_graph(data: Data, form: forms.Form, breadth: int) -> Search:
    geometry, parts = data.geometry, data.parts()

    def search(which: int) -> Positions:
        query = data.queries[which]
        near = form.candidates(geometry.query(query, form.first), breadth, breadth)
        return settle(geometry, parts, near, geometry.query(query, geometry.dim), K)[0]

    return search


def by_codes(data: Data, parts: list[Part], width: int, rows: int) -> Search:
    geometry = data.geometry

    def search(which: int) -> Positions:
        query = data.queries[which]
        [short] = shortlists(geometry, parts, [geometry.query(query, width)], rows)
        full = geometry.query(query, geometry.dim)
        return settle(geometry, parts, short.positions, full, K)[0]

    return search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--widths", type=int, nargs="+", default=[192, 256])
    parser.add_argument("--graphs", action="store_true", help="build and walk graphs: minutes")
    parser.add_argument("--only-graphs", action="store_true", help="nothing else")
    arguments = parser.parse_args()
    data = Data(arguments.rows, arguments.dim, arguments.queries)
    recalls = prefix_recalls(data.rows, data.queries)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{platform.machine()}, faiss {faiss.__version__}, numpy {np.__version__}, load {load:.1f}"
    )
    shares = ", ".join(f"{share:.2f} at {length}" for length, share in recalls.items())
    print(f"{arguments.rows} x {arguments.dim}; prefix self-recall {shares}")
    if not arguments.only_graphs:
        scan_float(data, arguments.rounds)
        for width in arguments.widths:
            scan_codes(data, width, arguments.rounds)
    if arguments.graphs or arguments.only_graphs:
        walk_graphs(data, arguments.widths, arguments.rounds)


if __name__ == "__main__":
    main()
