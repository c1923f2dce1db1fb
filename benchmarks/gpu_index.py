"""The index on a GPU beside the CPU: parity, recall, latency and throughput; for gpu_check.py."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.form import GpuForm
from kokeshi.index.gpu.gpus import GPUS
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.kernels import Part, nearest, settle
from kokeshi.index.kernels.engine import load_faiss
from kokeshi.index.spec import CollectionSpec

ROWS, DIM, QUERIES, K, SHORTLIST = 1_000_000, 512, 256, 10, 500
CLIENTS = 16
PART_ROWS = 65_536
LIMITS = GpuLimits(memory_bytes=4 * 2**30)
GRAPH_LIMITS = GpuLimits(memory_bytes=8 * 2**30, graph_rows=100_000)
LEAST_RECALL = 0.999  # of float16 shortlists ranked in float64
LEAST_WALKED = 0.95  # of what walks through graphs find
SHARES = (0.3, 0.1)  # of the rows that a mask allows
Found = tuple[str, str, bool]  # what was tried, what came, whether it is right


def has_gpu() -> bool:
    """Whether FAISS can use one."""
    return bool(GPUS.owners(LIMITS))


def checks() -> Iterator[Found]:
    """Everything that is measured, one by one."""
    geometry, parts, queries = made()
    form, took_s = sent(parts, LIMITS)
    if form is None:
        yield "index: rows sent to the GPU", "they were refused", False
        return
    size = f"{ROWS:,} x {DIM}, {form.resident_bytes / 2**30:.2f} GiB"
    yield f"index: {size}, sent", f"{took_s:.1f} s, {len(form.shards)} shards", True
    selects = all(shard.owner.gpu.selects for shard in form.shards)
    how = "by cuVS" if selects else "by asking for more"
    yield parity(geometry, parts, form, queries, None, "all rows")
    for share in SHARES if selects else SHARES[:1]:
        told = f"{share:.0%} allowed, {how}"
        yield parity(geometry, parts, form, queries, allowed_of(share), told)
    yield from speeds(geometry, parts, form, queries)
    if all(shard.owner.gpu.walks for shard in form.shards):
        yield from graphs(geometry, parts, form, queries)


def sent(parts, limits: GpuLimits) -> tuple[GpuForm | None, float]:
    """A form over all rows, and the seconds that it took."""
    spec = CollectionSpec("check", "", DIM, index="gpu")
    begun_s = time.perf_counter()
    form = GPUS.build(spec, parts, (DIM,), None, limits, lambda: False, lambda share: None)
    return form, time.perf_counter() - begun_s


def allowed_of(share: float):
    """A mask that leaves such a share of the rows."""
    return np.random.default_rng(1).random(ROWS) < share


def graphs(geometry, parts, flat: GpuForm, queries) -> Iterator[Found]:
    """The same by CAGRA, beside the GPU that compares every row."""
    flat_ms, flat_per_s = pace(geometry, parts, flat, queries)
    GPUS.close()  # limits are kept from the first call
    form, took_s = sent(parts, GRAPH_LIMITS)
    if form is None or not all(shard.is_graph for shard in form.shards):
        yield "index: graphs", "none were built", False
        return
    size = f"{form.resident_bytes / 2**30:.2f} GiB"
    yield f"index: graphs, {size}", f"built in {took_s:.1f} s, {len(form.shards)} shards", True
    yield parity(geometry, parts, form, queries, None, "graphs, all rows", LEAST_WALKED)
    for share in SHARES:
        told = f"graphs, {share:.0%} allowed"
        yield parity(geometry, parts, form, queries, allowed_of(share), told, LEAST_WALKED)
    ms, walks_per_s = pace(geometry, parts, form, queries)
    found = f"graphs {ms:.2f} ms, every row compared {flat_ms:.2f} ms"
    yield "index: one query by graphs, p50", found, True  # which is faster is the question
    found = f"graphs {walks_per_s:,.0f}/s, every row compared {flat_per_s:,.0f}/s"
    yield f"index: {QUERIES} queries in a call by graphs", found, True


def pace(geometry, parts, form: GpuForm, queries) -> tuple[float, float]:
    """Median of one query alone, in ms, and queries in a second of all in a call."""

    def search(batch):
        for query, found in zip(batch, form.candidates_of(batch, SHORTLIST), strict=True):
            settle(geometry, parts, found, query, K)

    return p50_ms(lambda i: search([queries[i]])), per_s(lambda: search(queries))


def made():
    """Unit vectors in clusters with a decaying spectrum, in parts, and queries near to some."""
    rng = np.random.default_rng(0)
    spectrum = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((1000, DIM), dtype=np.float32)
    geometry, parts, samples = Geometry("cosine", (DIM,)), [], []
    for start in range(0, ROWS, PART_ROWS):
        count = min(PART_ROWS, ROWS - start)
        noise = rng.standard_normal((count, DIM), dtype=np.float32)
        vectors = (centres[rng.integers(1000, size=count)] + noise) * spectrum
        parts.append(Part(geometry.block(np.arange(start, start + count), vectors)))
        samples.append(vectors[:32])
    near = np.concatenate(samples)[:QUERIES]
    near += 0.1 * rng.standard_normal(near.shape, dtype=np.float32) * spectrum
    return geometry, parts, [geometry.query(one, DIM) for one in near]


def parity(
    geometry, parts, form: GpuForm, queries, allowed, name: str, least: float = LEAST_RECALL
) -> Found:
    """Recall of what the CPU ranks of the GPU's candidates, and whether a mask is kept."""
    masked = parts
    if allowed is not None:
        masked = [part._replace(allowed=allowed[part.block.rows]) for part in parts]
    exact = nearest(geometry, masked, queries, K)
    found = form.candidates_of(queries, SHORTLIST, None, allowed)
    agreed, kept = 0, True
    for query, right, candidates in zip(queries, exact, found, strict=True):
        best, _ = settle(geometry, parts, candidates, query, K)
        agreed += len(np.intersect1d(best, settle(geometry, masked, right, query, K)[0]))
        kept &= allowed is None or bool(allowed[candidates].all())
    recall = agreed / (K * len(queries))
    told = f"recall@{K} {recall:.4f}" + ("" if kept else ", rows that are not allowed")
    return (
        f"index: candidates of the GPU beside an exact scan, {name}",
        told,
        (kept and recall >= least),
    )


def speeds(geometry, parts, form: GpuForm, queries) -> Iterator[Found]:
    """Latency alone and throughput together, candidates and their ranking, beside FAISS's flat."""

    def search(batch):
        for query, found in zip(batch, form.candidates_of(batch, SHORTLIST), strict=True):
            settle(geometry, parts, found, query, K)

    faiss = load_faiss()
    flat = faiss.IndexFlatIP(DIM)
    for part in parts:
        flat.add(np.ascontiguousarray(part.block.matrix))
    lines = np.stack(queries).astype(np.float32)
    ours_ms, flats_ms = (
        p50_ms(lambda i: search([queries[i]])),
        p50_ms(lambda i: flat.search(lines[i : i + 1], K), 30),
    )
    yield (
        "index: one query, p50",
        f"GPU {ours_ms:.2f} ms, faiss flat on the CPU {flats_ms:.2f} ms",
        (ours_ms < flats_ms),
    )
    ours, flats = (
        per_s(lambda: search(queries)),
        per_s(lambda: flat.search(lines, K)),
    )
    yield (
        f"index: {QUERIES} queries in a call",
        (f"GPU {ours:,.0f}/s, faiss flat on the CPU {flats:,.0f}/s"),
        ours > flats,
    )
    owners = {shard.owner for shard in form.shards}
    before = sum(owner.calls for owner in owners)
    with ThreadPoolExecutor(CLIENTS) as pool:
        begun_s = time.perf_counter()
        list(pool.map(lambda query: search([query]), queries * 4))
        took_s = time.perf_counter() - begun_s
    calls = sum(owner.calls for owner in owners) - before
    yield (
        f"index: {CLIENTS} clients, a query each",
        (f"{4 * QUERIES / took_s:,.0f}/s by {calls} calls for {4 * QUERIES * len(form.shards)}"),
        calls < 4 * QUERIES * len(form.shards),
    )


def p50_ms(search, times: int = QUERIES) -> float:
    """Median of single searches, in ms."""
    taken_s = []
    for i in range(times):
        begun_s = time.perf_counter()
        search(i % QUERIES)
        taken_s.append(time.perf_counter() - begun_s)
    return 1000 * float(np.median(taken_s))


def per_s(search) -> float:
    """Queries in a second, of three calls the best."""
    taken_s = []
    for _ in range(3):
        begun_s = time.perf_counter()
        search()
        taken_s.append(time.perf_counter() - begun_s)
    return QUERIES / min(taken_s)
