"""Vectors as they are held for search: one copy that answers at every trained length."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from kokeshi.index.store import CollectionSpec, Metric, Vector

Rows = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

# A prefix of a unit vector that is shorter than this has no direction: it scores 0.
SHORTEST_PREFIX: Final = 1e-12


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that never change.

    Attributes:
        rows: (n,) numbers of the rows in the database, ascending.
        matrix: (n, dim) float32, row-major; unit norm under cosine, as given under L2.
        scales: (lengths, n) float32, one line per trained length: under cosine the inverse norm
            of the prefix (0 below SHORTEST_PREFIX), under L2 its squared norm.
    """

    rows: Rows
    matrix: Vector
    scales: Vector

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        return self.rows.nbytes + self.matrix.nbytes + self.scales.nbytes

    def part(self, chosen: slice | npt.NDArray[Any]) -> "Block":
        """Some of the rows: a view for a slice, a copy for an index or a mask."""
        return Block(self.rows[chosen], self.matrix[chosen], self.scales[:, chosen])


@dataclass(frozen=True)
class Geometry:
    """How the vectors of a collection are compared; `dimensions` are the trained lengths."""

    metric: Metric
    dimensions: tuple[int, ...]

    @classmethod
    def of(cls, spec: CollectionSpec) -> Self:
        """Geometry of a collection."""
        return cls(spec.metric, spec.trained)

    @property
    def dim(self) -> int:
        """The full length."""
        return self.dimensions[-1]

    def empty(self) -> Block:
        """A block of no rows."""
        return self.block(np.empty(0, np.int64), np.empty((0, self.dim), np.float32))

    def block(self, rows: Rows, vectors: Vector) -> Block:
        """Prepares vectors (n, dim), as they were given, for search."""
        if self.metric == "cosine":
            vectors = unit(vectors)
        return Block(rows, vectors, self.scales(vectors))

    def scales(self, matrix: Vector) -> Vector:
        """See `Block.scales`."""
        squares = np.square(matrix, dtype=np.float64)
        starts = [0, *self.dimensions[:-1]]
        sums = np.add.reduceat(squares, starts, axis=1).cumsum(axis=1).T
        if self.metric == "cosine":
            norms = np.sqrt(sums)
            sums = np.divide(1.0, norms, out=np.zeros_like(sums), where=norms > SHORTEST_PREFIX)
        return np.ascontiguousarray(sums, dtype=np.float32)

    def query(self, query: Vector, dimension: int) -> Doubles:
        """Prefix of one query, (dimension,) float64, unit norm under cosine."""
        prefix = query[:dimension].astype(np.float64)
        if self.metric == "cosine":
            norm = np.sqrt(np.square(prefix).sum())
            prefix = prefix / norm if norm else prefix
        return prefix

    def compare(self, vectors: Vector, query: Doubles) -> Doubles:
        """Scores, larger is nearer: cosine similarity, or the L2 distance negated.

        In float64 and row by row, so that a score does not depend on a row's neighbours: equal
        vectors score equal to the last bit.

        Args:
            vectors: (n, dim) rows of a block's matrix.
            query: what `Geometry.query` made; its length is the one compared at.
        """
        prefixes = vectors[:, : len(query)].astype(np.float64)
        if self.metric == "l2":
            return -np.sqrt(np.square(prefixes - query).sum(axis=1))
        norms = np.sqrt(np.square(prefixes).sum(axis=1))
        dots = (prefixes * query).sum(axis=1)
        scores = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > SHORTEST_PREFIX)
        return np.clip(scores, -1.0, 1.0)


def unit(vectors: Vector) -> Vector:
    """Rows scaled to unit norm, a copy; no row may be all zero."""
    doubles = vectors.astype(np.float64)
    # the largest value first: squares of tiny or huge ones would leave float64's range
    doubles /= np.abs(doubles).max(axis=1, keepdims=True, initial=0.0)
    doubles /= np.sqrt(np.square(doubles).sum(axis=1, keepdims=True))
    return doubles.astype(np.float32)
