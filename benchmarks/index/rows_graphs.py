"""Approximate search at one recall: the hard set, and real embeddings of 64 and 512 numbers."""

from collections.abc import Sequence

from arrays import Data
from race import RECALL, Entry
from run import Result, Run, ratio

STEPS = (
    10, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
    640, 768, 1024, 1536, 2048,
)  # fmt: skip
GRAPH = {"links": 32, "construction": 128}
EF = [{"ef": step} for step in STEPS]
BREADTHS = [{"breadth": step} for step in STEPS]
SHORTLISTS = [{"rerank": True, "shortlist": step} for step in STEPS]
REFINED = [{"ef": step, "refine": 10} for step in STEPS if step >= 100]
EDGE = {"links": 16, "construction": 128}  # its documentation's own number of links
FAISS = Entry("faiss-hnsw", "faiss_graph", GRAPH, EF)
HNSWLIB = Entry("hnswlib", "hnswlib_graph", GRAPH, EF)
USEARCH = Entry("usearch-f32", "usearch_graph", {**GRAPH, "dtype": "f32"}, EF)
USEARCH_BF16 = Entry("usearch-bf16", "usearch_graph", {**GRAPH, "dtype": "bf16"}, EF)
QDRANT_EDGE = Entry("qdrant-edge", "qdrant_edge_shard", EDGE, EF)
LANCE = Entry("lancedb-hnsw-sq", "lance", {**EDGE, "index": "IVF_HNSW_SQ"}, REFINED)


def graph_rows(scale: float) -> int:
    """Rows from which on our store builds a graph by itself, fewer at a smaller scale."""
    from kokeshi.index import Tuning

    return round(Tuning().hnsw_rows * scale)


def ours(run: Run, data: Data) -> tuple[Entry, Entry]:
    """Ours as it chooses by itself, and with the index that it did not choose."""
    settings = {"hnsw_rows": graph_rows(run.scale)}
    if len(data.rows) < graph_rows(run.scale):
        graph = Entry("kokeshi-graph", "kokeshi_store", {"index": "hnsw"}, BREADTHS)
        return Entry("kokeshi", "kokeshi_store", settings, SHORTLISTS), graph
    codes = Entry("kokeshi-codes", "kokeshi_store", {"index": "codes"}, SHORTLISTS)
    return Entry("kokeshi", "kokeshi_store", settings, BREADTHS), codes


def hard(run: Run) -> None:
    """d = 1024, where prefixes are bad: against graphs over all numbers."""
    data = run.data("hard")
    entries = (*ours(run, data), FAISS, HNSWLIB, USEARCH_BF16, USEARCH)
    results = run.race(entries, data)
    mine, faiss = results.get("kokeshi"), results.get("faiss-hnsw")
    _check_recall(run, results)
    run.want("p50, of faiss HNSW at full length", ratio(mine, faiss), 0.45)
    run.want("p50, of usearch bf16", ratio(mine, results.get("usearch-bf16")), 0.36)
    run.want("p50, of faiss HNSW, stretch", ratio(mine, faiss), 0.25)
    _builds(run, mine, faiss, 0.4)


def d512(run: Run) -> None:
    """Real embeddings of 512 numbers."""
    data = run.data("photographs")
    _against_faiss(run, data, (*ours(run, data), FAISS, HNSWLIB, USEARCH, QDRANT_EDGE, LANCE))


def digits(run: Run) -> None:
    """Real embeddings of 64 numbers: their prefixes are no shorter than what a graph wants."""
    data = run.data("digits")
    _against_faiss(run, data, (*ours(run, data), FAISS, HNSWLIB))


def _against_faiss(run: Run, data: Data, entries: Sequence[Entry]) -> None:
    results = run.race(entries, data)
    mine, faiss = results.get("kokeshi"), results.get("faiss-hnsw")
    _check_recall(run, results)
    run.want(f"p50 at d = {data.lengths[-1]}, of faiss HNSW", ratio(mine, faiss), 1.0)
    _builds(run, mine, faiss, 1 / 3)


def _builds(run: Run, mine: Result | None, faiss: Result | None, limit: float) -> None:
    """The wish counts everything from the first row sent; the second figure the index alone."""
    if mine is None or faiss is None:
        return
    run.want("build with ingest, of faiss HNSW's", mine.built["build_s"] / faiss.built["build_s"],
             limit)  # fmt: skip
    run.tell(stated="build after ingest, of faiss HNSW's",
             value=round(mine.built["index_s"] / faiss.built["build_s"], 4))  # fmt: skip


def _check_recall(run: Run, results: dict[str, Result]) -> None:
    """A latency counts at the recall only: who does not reach it is said."""
    for name, result in results.items():
        if name == "kokeshi":
            run.want("recall@10", result.recall, RECALL, at_most=False)
        elif result.recall < RECALL:
            run.tell(contestant=name, note=f"does not reach recall {RECALL} at any dial tried")


def sizes(run: Run) -> None:
    """Bytes per row, in memory and on the disk, as built and as opened again."""
    data = run.data("hard")
    entries = [*ours(run, data), FAISS, USEARCH_BF16]
    told = {entry.name: _sizes(run, data, entry) for entry in entries
            if entry.name not in run.skipped}  # fmt: skip
    if "kokeshi" in told and "faiss-hnsw" in told:
        mine, theirs = told["kokeshi"], told["faiss-hnsw"]
        share = mine["own_bytes"] / theirs["own_bytes"]
        run.want("own memory, of faiss HNSW's at full float32", share, 0.5)
        whole = (mine["own_bytes"] + mine["mapped_bytes"]) / theirs["own_bytes"]
        run.tell(stated="own memory and mapped files that are in memory, of faiss HNSW's",
                 value=round(whole, 4))  # fmt: skip


def _sizes(run: Run, data: Data, entry: Entry) -> dict[str, int]:
    from race import Racer

    with Racer(entry, data, run.folder) as racer:
        built = run.build(racer, reuse=True)
    with Racer(entry, data, run.folder) as racer:
        opened = run.build(racer, reuse=True)
        racer.search(racer.entry.ladder[len(racer.entry.ladder) // 2], 200)
        size = racer.ask("measure", folder=str(racer.place))
    per_row = {
        name.replace("bytes", "bytes_per_row"): round(value / len(data.rows), 1)
        for name, value in size.items()
    }
    run.tell(contestant=entry.name, open_s=opened["open_s"], **per_row,
             index=built.get("index", ""))  # fmt: skip
    return size
