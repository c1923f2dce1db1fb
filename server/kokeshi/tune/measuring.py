"""Times the candidates in turns, so that a machine that slows down slows all of them down."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Speed
from kokeshi.tune.worker import CandidateError, Round, Worker

ROUNDS: Final = 5


def measure(
    workers: Mapping[str, Worker],
    rows: NDArray[np.uint8],
    batch_sizes: Sequence[int],
    seconds: float,
    on_failure: Callable[[str, str], None],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> dict[str, tuple[Speed, ...]]:
    """Times every candidate at every batch size.

    Args:
        workers: by name, opened.
        rows: pictures, (N, height, width, 3).
        batch_sizes: rows of one run.
        seconds: for each candidate at each batch size, all rounds together.
        on_failure: gets the name of a candidate that fails, and why; it is not timed any further.
        on_progress: gets the fraction done.

    Returns:
        Speeds by name, of those that did not fail.
    """
    rounds: dict[tuple[str, int], list[Round]] = defaultdict(list)
    running = dict(workers)
    turns = [(turn, size) for turn in range(ROUNDS) for size in batch_sizes]
    for done, (turn, size) in enumerate(turns, start=1):
        batch = np.resize(rows, (size, *rows.shape[1:]))
        for name in _rotated(list(running), turn):
            try:
                if turn == 0:
                    running[name].measure(batch, 0)  # the first run of a shape allocates
                rounds[name, size].append(running[name].measure(batch, seconds / ROUNDS))
            except CandidateError as error:
                running.pop(name).kill()
                on_failure(name, str(error))
        on_progress(done / len(turns))
    return {
        name: tuple(_speed(size, rounds[name, size]) for size in batch_sizes) for name in running
    }


def _rotated(names: list[str], turn: int) -> list[str]:
    """Another one begins each round."""
    first = turn % max(1, len(names))
    return names[first:] + names[:first]


def _speed(batch_size: int, rounds: Sequence[Round]) -> Speed:
    """Throughput and median of the best round, and the 99th percentile of all.

    Whatever else a machine does only ever takes time: the best round is the least disturbed.
    """
    best = max(rounds, key=lambda one: one.rows / one.seconds)
    every_s = np.concatenate([one.latencies_s for one in rounds])
    return Speed(
        batch_size=batch_size,
        rows_per_s=round(best.rows / best.seconds, 2),
        p50_ms=round(1000 * float(np.median(best.latencies_s)), 4),
        p99_ms=round(1000 * float(np.percentile(every_s, 99)), 4),
    )
