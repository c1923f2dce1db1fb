"""Rows to scan: runs of a collection's rows, which positions run through one after the other."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kokeshi.index.geometry import Block, Geometry, Rows
from kokeshi.index.items import Vector
from kokeshi.index.kernels.codes import Codes

Positions = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Part(NamedTuple):
    """A run of rows.

    Attributes:
        block: the rows.
        codes: their int8 codes; None where only float32 scans look at them.
        allowed: (n,) bool, the rows that may be found; None: all of them.
    """

    block: Block
    codes: Codes | None = None
    allowed: Mask | None = None


class Span(NamedTuple):
    """Rows `start` to `stop` of one part, the first of which has the position `first`."""

    part: Part
    start: int
    stop: int
    first: int

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.stop - self.start


def spans(parts: Sequence[Part], rows: int, *, coded: bool = True) -> list[Span]:
    """Cuts parts into spans of at most so many rows.

    Spans without an allowed row are left out, and where `coded` is false parts that have codes.
    """
    return list(_spans(parts, rows, coded=coded))


def _spans(parts: Sequence[Part], rows: int, *, coded: bool) -> Iterator[Span]:
    first = 0
    for part in parts:
        is_wanted = coded or part.codes is None
        for start in range(0, len(part.block) if is_wanted else 0, rows):
            stop = min(start + rows, len(part.block))
            if part.allowed is None or part.allowed[start:stop].any():
                yield Span(part, start, stop, first + start)
        first += len(part.block)


def offsets(parts: Sequence[Part]) -> list[int]:
    """Position of each part's first row, and the number of all rows at the end."""
    return [0, *itertools.accumulate(len(part.block) for part in parts)]


def gather(geometry: Geometry, parts: Sequence[Part], positions: Positions) -> Block:
    """A copy of the rows at ascending positions."""
    count = len(positions)
    rows = np.empty(count, np.int64)
    scales = np.empty((len(geometry.empty().scales), count), np.float32)
    for part, chosen, place in _shares(parts, positions):
        rows[place] = part.block.rows[chosen]
        scales[:, place] = part.block.scales[:, chosen]
    return Block(rows, vectors_at(geometry, parts, positions), scales)


def rows_at(parts: Sequence[Part], positions: Positions) -> Rows:
    """Numbers of the rows at positions, in any order."""
    if len(parts) == 1:
        return parts[0].block.rows[positions]
    firsts = offsets(parts)
    owners = np.searchsorted(firsts, positions, side="right") - 1
    numbers = np.empty(len(positions), np.int64)
    for owner in set(owners.tolist()):
        here = owners == owner
        numbers[here] = parts[owner].block.rows[positions[here] - firsts[owner]]
    return numbers


def vectors_at(geometry: Geometry, parts: Sequence[Part], positions: Positions) -> Vector:
    """A copy (n, dim) float32 of the vectors at ascending positions."""
    matrix = np.empty((len(positions), geometry.dim), np.float32)
    for part, chosen, place in _shares(parts, positions):
        # anything but "clip" copies once more; positions are within the part
        np.asarray(part.block.matrix).take(chosen, axis=0, out=matrix[place], mode="clip")
    return matrix


def _shares(parts: Sequence[Part], positions: Positions) -> Iterator[tuple[Part, Positions, slice]]:
    """Parts that have some of the positions: which of their rows, and their place in the copy."""
    if len(parts) == 1:
        yield parts[0], positions, slice(None)
        return
    firsts = offsets(parts)
    bounds = np.searchsorted(positions, firsts).tolist()
    for part, first, (low, high) in zip(parts, firsts, itertools.pairwise(bounds), strict=False):
        if low < high:
            yield part, positions[low:high] - first, slice(low, high)
