"""Rows to scan: runs of a collection's rows, which positions run through one after the other."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kokeshi.index.geometry import Block, Geometry
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


def spans(parts: Sequence[Part], rows: int) -> list[Span]:
    """Cuts parts into spans of at most so many rows; parts without an allowed row are left out."""
    return list(_spans(parts, rows))


def _spans(parts: Sequence[Part], rows: int) -> Iterator[Span]:
    first = 0
    for part in parts:
        for start in range(0, len(part.block), rows):
            stop = min(start + rows, len(part.block))
            if part.allowed is None or part.allowed[start:stop].any():
                yield Span(part, start, stop, first + start)
        first += len(part.block)


def offsets(parts: Sequence[Part]) -> Positions:
    """(parts + 1,) position of each part's first row, and the number of all rows at the end."""
    return np.concatenate([[0], np.cumsum([len(part.block) for part in parts], dtype=np.intp)])


def gather(geometry: Geometry, parts: Sequence[Part], positions: Positions) -> Block:
    """A copy of the rows at ascending positions."""
    count = len(positions)
    rows, matrix = np.empty(count, np.int64), np.empty((count, geometry.dim), np.float32)
    scales = np.empty((len(geometry.empty().scales), count), np.float32)
    firsts = offsets(parts)
    bounds = np.searchsorted(positions, firsts)
    for part, first, (low, high) in zip(parts, firsts, itertools.pairwise(bounds), strict=False):
        chosen = positions[low:high] - first
        rows[low:high] = part.block.rows[chosen]
        scales[:, low:high] = part.block.scales[:, chosen]
        # anything but "clip" copies once more; positions are within the part
        vectors = np.asarray(part.block.matrix)
        vectors.take(chosen, axis=0, out=matrix[low:high], mode="clip")
    return Block(rows, matrix, scales)
