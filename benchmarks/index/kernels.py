"""Kernels of the index against the speed of memory and against FAISS as it comes, in one run.

    python benchmarks/index/kernels.py [--rows 50000] [--dim 1024] [--graphs]

Rows are those of `hard_set`. All contestants take turns, one round after the other, so that a busy
machine slows all of them; medians are compared, and minima are shown beside them. The roof is the
most bytes per second that the pool's threads read from memory, measured in the same rounds.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable

import faiss
import numpy as np
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

Race = dict[str, list[float]]


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
    finals = [geometry.query(query, geometry.dim) for query in data.queries]
    found = np.zeros((len(firsts), K), np.intp)

    def search(number: int) -> None:
        which = number % len(firsts)
        [short] = shortlists(geometry, parts, [firsts[which]], SHORTLIST)
        found[which] = settle(geometry, parts, short.positions, finals[which], K)[0]

    def query(number: int) -> Vectors:
        which = number % len(firsts)
        return data.queries[which : which + 1]

    times = race(
        {
            "roof": reader,
            "scan": lambda number: shortlists(
                geometry, parts, [firsts[number % len(firsts)]], SHORTLIST
            ),
            "search": search,
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
    for which in range(len(firsts)):
        search(which)
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


def walk_graphs(data: Data, width: int, rounds: int) -> None:
    tuning, geometry, parts = Tuning(), data.geometry, data.parts()
    start = time.perf_counter()
    threads = POOL.threads
    form = forms.build("hnsw", geometry, parts, width, tuning, threads=threads)
    ours_s = time.perf_counter() - start
    full = faiss.IndexHNSWFlat(geometry.dim, tuning.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    full.hnsw.efConstruction = tuning.ef_construction
    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    full.add(data.rows)
    full_s = time.perf_counter() - start
    print(
        f"graphs, {tuning.hnsw_links} links, {tuning.ef_construction} candidates, {threads} threads"
    )
    print(f"  build on {width} {ours_s:.1f} s, faiss full {full_s:.1f} s: {ours_s / full_s:.2f}")
    for breadth in BREADTHS:
        _walk(data, form, full, breadth, rounds)


def _walk(data: Data, form: forms.Form, full: object, breadth: int, rounds: int) -> None:
    geometry, parts = data.geometry, data.parts()
    firsts = [geometry.query(query, form.first) for query in data.queries]
    finals = [geometry.query(query, geometry.dim) for query in data.queries]
    found = {name: np.zeros((len(firsts), K), np.intp) for name in ("ours", "full")}
    params = faiss.SearchParametersHNSW(efSearch=breadth)

    def ours(number: int) -> None:
        which = number % len(firsts)
        near = form.candidates(firsts[which], breadth, breadth)
        found["ours"][which] = settle(geometry, parts, near, finals[which], K)[0]

    def theirs(number: int) -> None:
        which = number % len(firsts)
        query = data.queries[which : which + 1]
        found["full"][which] = full.search(query, K, params=params)[1][0]

    faiss.omp_set_num_threads(1)
    times = race({"ours": ours, "full": theirs}, max(rounds, len(firsts)))
    for name, label in {"ours": f"graph on {form.first}, ranked", "full": "faiss full"}.items():
        note = f"recall@{K} {recall(found[name], data.wanted):.4f}"
        show(f"{label}, breadth {breadth}", times[name], note)
    print(f"    {np.median(times['ours']) / np.median(times['full']):.2f} of the full graph's time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--widths", type=int, nargs="+", default=[192, 256])
    parser.add_argument("--graphs", action="store_true", help="build and walk graphs: minutes")
    arguments = parser.parse_args()
    data = Data(arguments.rows, arguments.dim, arguments.queries)
    recalls = prefix_recalls(data.rows, data.queries)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{platform.machine()}, faiss {faiss.__version__}, numpy {np.__version__}, load {load:.1f}"
    )
    shares = ", ".join(f"{share:.2f} at {length}" for length, share in recalls.items())
    print(f"{arguments.rows} x {arguments.dim}; prefix self-recall {shares}")
    scan_float(data, arguments.rounds)
    for width in arguments.widths:
        scan_codes(data, width, arguments.rounds)
    if arguments.graphs:
        walk_graphs(data, max(arguments.widths), arguments.rounds)


if __name__ == "__main__":
    main()
