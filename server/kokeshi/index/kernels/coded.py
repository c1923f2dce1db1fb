"""Scans of int8 codes, by FAISS, over all runs of all parts."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kokeshi.index.items import Vector
from kokeshi.index.kernels.codes import LARGEST_CODE
from kokeshi.index.kernels.engine import bits
from kokeshi.index.kernels.parts import Part, offsets
from kokeshi.index.kernels.pool import POOL
from kokeshi.index.kernels.runs import Bytes, Run
from kokeshi.index.kernels.selection import Chosen, best

ALONE_BYTES: Final = 2**20  # the calling thread has read them before others are at work
# A run hands on its share of the k best, times this, and some more: to keep all k of every run
# costs as much as the products. One that may hold more is scanned again for k.
SURPLUS: Final = 2
SURPLUS_ROWS: Final = 16

Piece = tuple[Vector, npt.NDArray[np.int64]]


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
    rows = sum(map(_rows, tasks))
    widths = [_width(task, k, rows) for task in tasks]
    pieces = _searched(tasks, wanted, widths)
    scores, positions = _joined(tasks, wanted, pieces)
    found = [_best_of(*of_query, k) for of_query in zip(scores, positions, strict=True)]
    short = _short(scores, widths, found, k)
    if not short:
        return found
    again = [tasks[i] for i in short]
    whole = _searched(again, wanted, [min(k, _rows(task)) for task in again])
    for i, piece in zip(short, whole, strict=True):
        pieces[i] = piece
    scores, positions = _joined(tasks, wanted, pieces)
    return [_best_of(*of_query, k) for of_query in zip(scores, positions, strict=True)]


def _tasks(parts: Sequence[Part]) -> list[Task]:
    tasks = []
    for part, first in zip(parts, offsets(parts), strict=False):
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


def _searched(tasks: Sequence[Task], wanted: Wanted, widths: Sequence[int]) -> list[Piece]:
    """The best rows of each task: products of whole numbers, and numbers of rows in the task."""
    size = sum(map(_rows, tasks)) * wanted.steps.size
    return POOL.map(
        lambda i: tasks[i].run.search(wanted.steps, widths[i], tasks[i].allowed),
        range(len(tasks)),
        alone=size <= ALONE_BYTES,
    )


def _joined(
    tasks: Sequence[Task], wanted: Wanted, pieces: Sequence[Piece]
) -> tuple[Vector, npt.NDArray[np.int64]]:
    """Scores (queries, rows) and positions of all pieces side by side; -inf where there is none."""
    widths = [products.shape[1] for products, _ in pieces]
    steps = np.repeat(np.array([task.run.step for task in tasks], np.float32), widths)
    firsts = np.repeat([task.first for task in tasks], widths)
    numbers = np.concatenate([found for _, found in pieces], axis=1)
    scores = np.concatenate([products for products, _ in pieces], axis=1)
    scores *= wanted.sizes[:, None] * steps
    # -1 stands where fewer rows are allowed
    np.copyto(scores, np.float32(-np.inf), where=numbers < 0)
    return scores, numbers + firsts


def _best_of(scores: Vector, positions: npt.NDArray[np.int64], k: int) -> Chosen:
    there = np.flatnonzero(scores > -np.inf)
    held = scores[there]
    return best([Chosen(positions[there], held, held)], k)


def _short(scores: Vector, widths: Sequence[int], found: Sequence[Chosen], k: int) -> list[int]:
    """Tasks that may hold more: the last row that they handed on is better than the k-th of all."""
    kth = [each.scores.min() if len(each.scores) >= k else -np.inf for each in found]
    last = scores[:, np.cumsum(widths) - 1]
    is_short = (last > np.array(kth)[:, None]).any(axis=0) & (np.array(widths) < k)
    short: list[int] = np.flatnonzero(is_short).tolist()
    return short
