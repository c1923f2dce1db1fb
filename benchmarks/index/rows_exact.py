"""Exact search of one query, and of sixteen at once, against the speed of memory."""

from contextlib import ExitStack

import numpy as np
from arrays import Data
from race import CLIENTS, CORES, Entry, Racer, Times, started, take_turns
from run import Run

EXACT = {"exact": True}
KOKESHI = Entry("kokeshi-flat", "kokeshi_store", {"index": "flat"}, (EXACT,))
FAISS = Entry("faiss-flat", "faiss_flat", {}, ({},))
FAISS_ONE = Entry("faiss-flat-1-thread", "faiss_flat", {}, ({"threads": 1},))
NUMPY = Entry("numpy", "numpy_scan")
ROOF = Entry("roof", "roof")
BATCHES = 6


def exact(run: Run) -> None:
    """One query: share of the roof, and against faiss IndexFlat."""
    data = run.data("hard")
    with ExitStack() as stack:
        racers = started(stack, (KOKESHI, FAISS, FAISS_ONE, NUMPY, ROOF), data, run.folder)
        for racer in racers:
            run.build(racer)
        pairs = [(racer, racer.entry.ladder[0]) for racer in racers]
        times = dict(zip([racer.entry.name for racer in racers],
                         take_turns(pairs, count=20), strict=True))  # fmt: skip
        roof = racers[-1].ask("tell")["bytes"] / times["roof"].p50_s
        run.tell(roof_gb_per_s=round(roof / 1e9, 2), **times["roof"].told())
        for racer in racers[:-1]:
            _tell(run, racer, times[racer.entry.name], roof)
    _verdicts(run, data, times, roof)


def _tell(run: Run, racer: Racer, times: Times, roof: float) -> None:
    recall = racer.recall(racer.entry.ladder[0], 100)
    share = _share(racer.data, times, roof)
    run.tell(contestant=racer.entry.name, recall=recall, of_roof=round(share, 3), **times.told())


def _share(data: Data, times: Times, roof: float) -> float:
    """Bytes of the rows in float32 for each second, of what memory delivers."""
    return len(data.rows) * data.lengths[-1] * 4 / times.p50_s / roof


def _verdicts(run: Run, data: Data, times: dict[str, Times], roof: float) -> None:
    ours = times["kokeshi-flat"].p50_s
    run.want("share of the roof", _share(data, times["kokeshi-flat"], roof), 0.85, at_most=False)
    faster = times["faiss-flat"].p50_s / ours
    run.want("times as fast as faiss IndexFlat", faster, 2.0, at_most=False)
    best = min(times["faiss-flat"].p50_s, times["faiss-flat-1-thread"].p50_s)
    run.tell(stated="times as fast as faiss IndexFlat in its better number of threads",
             value=round(best / ours, 3))  # fmt: skip


def exact16(run: Run) -> None:
    """Sixteen clients: seconds per query, against a batch of sixteen in one call of faiss."""
    data = run.data("hard")
    with ExitStack() as stack:
        racers = started(stack, (KOKESHI, FAISS), data, run.folder)
        for racer in racers:
            run.build(racer, reuse=True)
        ours, theirs = racers
        seconds: dict[str, list[float]] = {}

        def add(name: str, value: float) -> None:
            seconds.setdefault(name, []).append(value)

        for turn in range(BATCHES):
            first = turn * CLIENTS
            for name, racer, dial in (
                ("kokeshi, 16 clients", ours, EXACT),
                ("faiss, 16 clients, its threads", theirs, {"threads": CORES}),
                ("faiss, 16 clients, 1 thread each", theirs, {"threads": 1}),
            ):
                answer = racer.search(dial, 4 * CLIENTS, first=first, clients=CLIENTS)
                add(name, answer["wall_s"] / len(answer["seconds"]))
            for name, racer, dial in (
                ("faiss, batch of 16, its default", theirs, {"blas": 128_000}),
                ("faiss, batch of 16, always BLAS", theirs, {"blas": 1}),
                ("kokeshi, batch of 16", ours, EXACT),
            ):
                answer = racer.batch(dial, 4 * CLIENTS, CLIENTS, first)
                add(name, float(np.median(answer["seconds"])))
        answer = ours.search(EXACT, 2 * CLIENTS, clients=CLIENTS)
        recall = data.recall(answer["ids"], data.least[: 2 * CLIENTS])
    _verdicts16(run, seconds, recall)


def _verdicts16(run: Run, seconds: dict[str, list[float]], recall: float) -> None:
    middle = {name: float(np.median(each)) for name, each in seconds.items()}
    for name, each in middle.items():
        run.tell(contestant=name, ms_per_query=round(1e3 * each, 4))
    run.tell(contestant="kokeshi, 16 clients", recall=recall)
    ours = middle["kokeshi, 16 clients"]
    batch = middle["faiss, batch of 16, its default"]
    run.want("times as fast per query as a default batch of faiss", batch / ours, 4.0,
             at_most=False)  # fmt: skip
    alone = middle["faiss, 16 clients, its threads"]
    run.tell(stated="times as fast per query as 16 clients of faiss", value=round(alone / ours, 3))
