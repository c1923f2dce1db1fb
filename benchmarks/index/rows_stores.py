"""Rows about whole stores: freshly ingested, served, filtered, and how fast they take rows."""

import shutil
from contextlib import ExitStack
from typing import Any

import numpy as np
from arrays import SHARES, Data, K, best_scores
from race import RECALL, Entry, Racer, started, take_turns
from rows_graphs import EDGE, EF, FAISS, LANCE, QDRANT_EDGE, SHORTLISTS, ours
from run import Result, Run, ratio

EXACT = {"exact": True}
FAISS_FLAT = Entry("faiss-flat", "faiss_flat")
SELECTIVITIES = (0.001, 0.01, 0.1, 0.5)
FILTER_QUERIES = 200
NEVER = 10**9  # rows from which on a graph would be built
BATCHES = (1000, 5000)
SINGLES = 1000
INGESTED = 100_000
TWO_STAGE = {"mode": 3}  # SEARCH_MODE_TWO_STAGE of the wire


def fresh(run: Run) -> None:
    """A million of 768 that nothing was built over, against an exact scan."""
    data = run.data("million")
    mine = Entry("kokeshi", "kokeshi_store", {"hnsw_rows": NEVER}, SHORTLISTS)
    with ExitStack() as stack:
        racers = started(stack, (mine, FAISS_FLAT), data, run.folder)
        results = [Result(racer, run.build(racer)) for racer in racers]
        results[0].dial, results[0].recall = racers[0].tuned(count=200)
        results[1].recall = racers[1].recall({}, 20)
        exact = Result(racers[0], {}, EXACT, racers[0].recall(EXACT, 20))
        told = [*results, exact]
        times = take_turns([(one.racer, one.dial) for one in told], turns=10, count=20)
        for one, each in zip(told, times, strict=True):
            one.one_client = each
            one.size = one.racer.ask("measure", folder=str(one.racer.place))
            run.tell(**one.told())
        for racer in racers:
            shutil.rmtree(racer.place)  # a million rows are kept for nobody
    first, flat = results
    run.want("recall@10", first.recall, RECALL, at_most=False)
    run.want("p50, of faiss IndexFlat", ratio(first, flat), 0.1)
    run.want("p50, of our own exact search", ratio(first, exact), 0.1)


def served(run: Run) -> None:
    """50,000 x 512, ours through gRPC; edge and local mode in process."""
    data = run.data("few_photographs")
    shortlists = [{"shortlist": step["shortlist"], **TWO_STAGE} for step in SHORTLISTS]
    entries = (
        Entry("kokeshi-grpc", "kokeshi_served", {}, shortlists),
        Entry("kokeshi-grpc-default", "kokeshi_served"),
        Entry("kokeshi-in-process", "kokeshi_store", {}, SHORTLISTS),
        Entry("milvus-lite-flat", "milvus_server", {"index": "FLAT", **EDGE}),
        Entry("milvus-lite-hnsw", "milvus_server", {"index": "HNSW", **EDGE}, EF),
        Entry("qdrant-local", "qdrant_local"),
        QDRANT_EDGE,
        LANCE,
    )
    results = run.race(entries, data)
    mine = results.get("kokeshi-grpc")
    run.want("recall@10", mine.recall if mine else None, RECALL, at_most=False)
    best = min(
        (each for name, each in results.items() if name.startswith("milvus")),
        key=lambda each: each.p50_s,
        default=None,
    )
    run.want("p50, of milvus-lite's better index", ratio(mine, best), 1 / 20)
    run.want("p50, of qdrant-client's local mode", ratio(mine, results.get("qdrant-local")), 1 / 20)
    run.want("p50, of qdrant-edge in process", ratio(mine, results.get("qdrant-edge")), 1.0)


def filtered(run: Run) -> None:
    """Filters that let through 0.1 to 50 %: k rows, the recall, and an unfiltered exact scan."""
    data = run.data("photographs")
    entries = [ours(run, data)[0], FAISS, QDRANT_EDGE, LANCE]
    with ExitStack() as stack:
        chosen = [each for each in entries if each.name not in run.skipped]
        racers = started(stack, chosen, data, run.folder)
        for racer in racers:
            run.build(racer, reuse=True)
        for share in SELECTIVITIES:
            _filtered(run, data, racers, share)


def _filtered(run: Run, data: Data, racers: list[Racer], share: float) -> None:
    below = round(share * SHARES)
    queries = data.queries[:FILTER_QUERIES]
    allowed = data.shares < below
    least = best_scores(data.rows, queries, allowed)[:, 0]
    there = min(K, int(np.count_nonzero(allowed)))
    pairs = [(racer, _dial(racer, below, least, there)) for racer in racers]
    pairs.append((racers[0], EXACT))  # unfiltered, what the wish compares with
    times = take_turns(pairs, turns=10, count=20)
    for (racer, dial), each in zip(pairs, times, strict=True):
        if dial is EXACT:
            run.tell(selectivity=1.0, contestant="kokeshi, unfiltered exact", **each.told())
            continue
        found = racer.search(dial, FILTER_QUERIES)["ids"]
        recall = data.recall(found, least, there)
        missing = sum(len({i for i in ids if i >= 0}) < there for ids in found)
        wrong = sum(not allowed[i] for ids in found for i in ids if i >= 0)
        run.tell(
            selectivity=share, contestant=racer.entry.name, dial=dial, short_answers=missing,
            wrong_rows=wrong, recall=round(recall, 4), **each.told(),
        )  # fmt: skip
        if racer.entry.is_ours:
            run.want(f"answers with too few rows or wrong ones at {share:.1%}", missing + wrong, 0)
            run.want(f"recall@10 at {share:.1%}", recall, RECALL, at_most=False)
    run.want(f"p50 at {share:.1%}, of unfiltered exact", times[0].p50_s / times[-1].p50_s, 1.0)


def _dial(racer: Racer, below: int, least: Any, there: int) -> dict[str, Any]:
    """The first of a few dials that reaches the recall; ours first as it comes."""
    ladder = racer.entry.ladder[:: max(1, len(racer.entry.ladder) // 8)]
    for step in ({}, *ladder) if racer.entry.is_ours else ladder:
        dial = {**step, "below": below}
        if racer.data.recall(racer.search(dial, FILTER_QUERIES)["ids"], least, there) >= RECALL:
            return dial
    return {**racer.entry.ladder[-1], "below": below}


def ingest(run: Run) -> None:
    """Rows of 512 float32 each second, on the disk before they are acknowledged."""
    data = run.data("photographs")
    rates = {
        entry.name: _rate(run, data, entry)
        for entry in (
            Entry("kokeshi", "kokeshi_store", {"hnsw_rows": NEVER}),
            Entry("kokeshi-and-graph", "kokeshi_store", {"index": "hnsw"}),
            Entry("raw log, the roof", "raw_log"),
            Entry("qdrant-edge, flushed", "qdrant_edge_shard", EDGE),
            Entry("milvus-lite, not synced", "milvus_server", EDGE),
            Entry("lancedb, not synced", "lance", EDGE),
        )
        if entry.name not in run.skipped
    }
    run.want("rows/s in batches, fsynced", rates.get("kokeshi"), 50_000, at_most=False)


def _rate(run: Run, data: Data, entry: Entry) -> float:
    told = {}
    for size, most in (*((size, INGESTED) for size in BATCHES), (1, SINGLES)):
        count = max(size, round(most * min(1.0, run.scale)))
        with Racer(entry, data, run.folder) as racer:
            place = racer.place.with_name(f"{racer.place.name}-ingest")
            shutil.rmtree(place, ignore_errors=True)
            seconds = racer.ask(
                "ingest", rows=str(data.folder / "rows.npy"), folder=str(place),
                settings=racer.settings, count=min(count, len(data.rows)), size=size,
            )["seconds"]  # fmt: skip
        shutil.rmtree(place)
        rows = len(seconds) * size
        told[f"rows_per_s_by_{size}"] = round(rows / sum(seconds), 1)
        told[f"p50_ms_by_{size}"] = round(1e3 * float(np.median(seconds)), 3)
        told[f"p99_ms_by_{size}"] = round(1e3 * float(np.percentile(seconds, 99)), 3)
    run.tell(contestant=entry.name, **told)
    return max(told[f"rows_per_s_by_{size}"] for size in BATCHES)
