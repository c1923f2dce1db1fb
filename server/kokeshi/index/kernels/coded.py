"""Scans of int8 codes, by FAISS, over all runs of all parts."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from kokeshi.index.kernels.codes import LARGEST_CODE
from kokeshi.index.kernels.engine import bits
from kokeshi.index.kernels.parts import Part, offsets
from kokeshi.index.kernels.pool import POOL
from kokeshi.index.kernels.runs import Bytes, Run
from kokeshi.index.kernels.selection import Chosen, best
from kokeshi.index.store import Vector

ALONE_BYTES: Final = 2**20  # the calling thread has read them before others are at work
# A run hands on its share of the k best, times this, and some more: to keep all k of every run
# costs as much as the products. One that may hold more is scanned again for k.
SURPLUS: Final = 2
SURPLUS_ROWS: Final = 16


class Task(NamedTuple):
    """A run to scan.

    Attributes:
        run: the rows.
        allowed: one bit per row of the run; None: all.
        first: position of the run's first row.
    """

    run: Run
    allowed: Bytes | None
    first: int


class Wanted(NamedTuple):
    """Queries in whole numbers.

    Attributes:
        steps: (queries, width) float32, whole numbers from -127 to 127.
        sizes: (queries,) float32 size of a step of each.
    """

    steps: Vector
    sizes: Vector


def best_codes(parts: Sequence[Part], queries: Vector, k: int) -> list[Chosen]:
    """The k rows with the largest inner products of their codes and each query, ties with the last.

    Args:
        parts: the rows; those without codes are left out.
        queries: (queries, length) float32, no longer than the codes are wide.
        k: at least 1.
    """
    tasks = _tasks(parts)
    if not tasks:
        return [best([], k)] * len(queries)
    wanted = _whole(queries, tasks[0].run.index.d)
    rows = sum(task.run.stop - task.run.start for task in tasks)
    widths = [_width(task, k, rows) for task in tasks]
    size = rows * tasks[0].run.index.d * len(queries)
    pieces = POOL.map(
        lambda i: _search(tasks[i], wanted, widths[i]),
        range(len(tasks)),
        alone=size <= ALONE_BYTES,
    )
    found = _merged(pieces, k)
    for i, width in enumerate(widths):
        if _may_hold_more(pieces[i], found, width, k):
            pieces[i] = _search(tasks[i], wanted, min(k, _rows(tasks[i])))
    return _merged(pieces, k)


def _tasks(parts: Sequence[Part]) -> list[Task]:
    tasks = []
    for part, first in zip(parts, offsets(parts).tolist(), strict=False):
        for run in () if part.codes is None else part.codes.runs:
            allowed = None if part.allowed is None else part.allowed[run.start : run.stop]
            if allowed is None or allowed.any():
                packed = None if allowed is None else bits(allowed)
                tasks.append(Task(run, packed, first + run.start))
    return tasks


def _rows(task: Task) -> int:
    return task.run.stop - task.run.start


def _width(task: Task, k: int, rows: int) -> int:
    share = SURPLUS * k * _rows(task) // rows + SURPLUS_ROWS
    return min(k, share, _rows(task))


def _whole(queries: Vector, width: int) -> Wanted:
    sizes = np.abs(queries).max(axis=1) / np.float32(LARGEST_CODE)
    inverse = np.divide(1.0, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    steps = np.zeros((len(queries), width), np.float32)
    steps[:, : queries.shape[1]] = np.rint(queries * inverse[:, None])
    return Wanted(steps.clip(-LARGEST_CODE, LARGEST_CODE), sizes)


def _search(task: Task, wanted: Wanted, width: int) -> list[Chosen]:
    products, found = task.run.search(wanted.steps, width, task.allowed)
    sizes = wanted.sizes * np.float32(task.run.step)
    pieces = []
    for line, numbers, size in zip(products, found, sizes, strict=True):
        # -1 stands where fewer rows are allowed
        is_found = numbers >= 0
        scores = line[is_found] * size
        pieces.append(Chosen(numbers[is_found] + task.first, scores, scores))
    return pieces


def _merged(pieces: list[list[Chosen]], k: int) -> list[Chosen]:
    return [best(list(of_query), k) for of_query in zip(*pieces, strict=True)]


def _may_hold_more(piece: list[Chosen], found: list[Chosen], width: int, k: int) -> bool:
    """True where the last row that a run handed on is better than the k-th of all."""
    return width < k and any(
        len(mine.scores) == width
        and (len(all_.scores) < k or mine.scores.min() > all_.scores.min())
        for mine, all_ in zip(piece, found, strict=True)
    )
