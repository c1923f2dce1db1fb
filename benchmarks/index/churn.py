"""A million inserts, deletes and re-inserts, with searches between: does recall hold, does it grow?

The shape is that of Big-ANN's streaming runbooks: the rows lie in clusters, and a step deletes one
whole cluster and inserts another, which may have been there before; so what the store holds drifts
through the space, and some queries have nothing near them left. Searches run beside whatever the
store rebuilds, as it chooses by itself.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from arrays import TIE, Data, K, best_scores, unit
from race import RECALL
from rows_graphs import graph_rows
from run import Run
from worker import disk_bytes, memory, trim

CLUSTERS = 64
OPERATIONS = 1_000_000
BATCH = 1000
QUERIES = 50
BREADTH = 512
SEED = 1203
GROWTH = 1.2  # most that memory and disk of the last quarter may exceed those of the second
DELETED_AT_ONCE = 5000


class Runbook:
    """Which rows live, and what comes next."""

    def __init__(self, data: Data) -> None:
        self.random = np.random.default_rng(SEED)
        centres = data.rows[np.sort(self.random.choice(len(data.rows), CLUSTERS, replace=False))]
        owners = np.concatenate(
            [
                np.argmax(data.rows[start : start + 20_000] @ centres.T, axis=1)
                for start in range(0, len(data.rows), 20_000)
            ]
        )
        self.members = [np.flatnonzero(owners == cluster) for cluster in range(CLUSTERS)]
        self.live = np.zeros(CLUSTERS, np.bool_)

    def take(self, *, live: bool) -> int:
        """A cluster that is there, or is not."""
        return int(self.random.choice(np.flatnonzero(self.live == live)))

    def alive(self, count: int) -> npt.NDArray[np.bool_]:
        mask = np.zeros(count, np.bool_)
        for cluster in np.flatnonzero(self.live):
            mask[self.members[cluster]] = True
        return mask


def churn(run: Run) -> None:
    """Recall at every step, and what memory and disk do."""
    from peers import kokeshi_store

    data = run.data("digits")
    runbook = Runbook(data)
    place = run.folder / "built" / f"churn-{run.scale:g}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    settings = {
        "lengths": data.lengths,
        "shares": str(data.folder / "shares.npy"),
        "hnsw_rows": graph_rows(run.scale),
    }
    trim()
    before = memory()["own"]
    peer = kokeshi_store.Contestant()
    peer.open(place, settings)
    peer.store.create(kokeshi_store.spec_of(settings))
    steps, start = [], time.perf_counter()
    done = sum(_insert(peer, data, runbook) for _ in range(CLUSTERS // 2))
    while done < OPERATIONS * run.scale:
        done += _delete(peer, runbook) + _insert(peer, data, runbook)
        steps.append({"operations": done, **_look(peer, data, runbook, place, before)})
        if len(steps) % 8 == 0:
            run.tell(**steps[-1])
    took_s = time.perf_counter() - start
    peer.store.wait_idle(600)
    steps.append({"operations": done, **_look(peer, data, runbook, place, before)})
    run.tell(seconds=round(took_s, 1), steps=len(steps), at_rest=True, **steps[-1])
    peer.close()
    shutil.rmtree(place)
    _verdicts(run, steps)


def _insert(peer: Any, data: Data, runbook: Runbook) -> int:
    from peers import kokeshi_store

    cluster = runbook.take(live=False)
    numbers = runbook.members[cluster]
    for first in range(0, len(numbers), BATCH):
        chosen = numbers[first : first + BATCH]
        batch = [
            kokeshi_store.Item(str(number), vector, {"cluster": cluster})
            for number, vector in zip(chosen, np.array(data.rows[chosen]), strict=True)
        ]
        peer.store.upsert(kokeshi_store.NAME, batch, space=kokeshi_store.SPACE)
    runbook.live[cluster] = True
    return len(numbers)


def _delete(peer: Any, runbook: Runbook) -> int:
    from peers import kokeshi_store

    cluster = runbook.take(live=True)
    numbers = runbook.members[cluster]
    for first in range(0, len(numbers), DELETED_AT_ONCE):
        ids = [str(number) for number in numbers[first : first + DELETED_AT_ONCE]]
        peer.store.delete(kokeshi_store.NAME, ids)
    runbook.live[cluster] = False
    return len(numbers)


def _look(peer: Any, data: Data, runbook: Runbook, place: Path, before: int) -> dict[str, Any]:
    """Recall against an exact search of what lives, by default dials."""
    alive = runbook.alive(len(data.rows))
    queries = data.queries[runbook.random.choice(len(data.queries), QUERIES, replace=False)]
    least = best_scores(data.rows, queries, alive)[:, 0]
    find = peer.searcher({})
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(find(query))
        seconds.append(time.perf_counter() - start)
    broad = peer.searcher({"breadth": BREADTH})
    told = peer.tell()
    trim()
    return {
        "live": int(alive.sum()),
        "recall": _recall(data, queries, found, least),
        "recall_broad": _recall(data, queries, [broad(query) for query in queries], least),
        "dead_found": int(sum(not alive[number] for ids in found for number in ids)),
        "p50_ms": round(1e3 * float(np.median(seconds)), 3),
        "p95_ms": round(1e3 * float(np.percentile(seconds, 95)), 3),
        "own_bytes_per_row": round((memory()["own"] - before) / alive.sum(), 1),
        "disk_bytes_per_row": round(disk_bytes(place) / alive.sum(), 1),
        "index": told["index"],
        "tail": told["tail"],
    }


def _recall(data: Data, queries: Any, found: list[list[int]], least: Any) -> float:
    shares = [
        np.count_nonzero(unit(data.rows[np.unique(ids)]) @ unit(query[None])[0] >= bound - TIE)
        for query, ids, bound in zip(queries, found, least, strict=True)
    ]
    return round(float(np.mean(np.minimum(np.divide(shares, K), 1.0))), 4)


def _verdicts(run: Run, steps: list[dict[str, Any]]) -> None:
    recalls = [step["recall"] for step in steps]
    run.want("least recall@10 of all steps", min(recalls), RECALL, at_most=False)
    least = min(step["recall_broad"] for step in steps)
    run.tell(stated=f"least recall@10 of all steps at breadth {BREADTH}", value=least)
    run.want("deleted rows that were found", sum(step["dead_found"] for step in steps), 0)
    quarter = max(1, len(steps) // 4)
    for what in ("own_bytes_per_row", "disk_bytes_per_row"):
        early = max(step[what] for step in steps[quarter : 2 * quarter] or steps[:1])
        late = max(step[what] for step in steps[-quarter:])
        run.want(f"{what}, last quarter of the second", late / early, GROWTH)
