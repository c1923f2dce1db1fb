"""Vectors as they are held for search: one copy that answers at every trained length."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from kokeshi.index.items import Vector
from kokeshi.index.spec import CollectionSpec, Metric

Rows = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

# A prefix of a unit vector that is shorter than this has no direction: it scores 0.
SHORTEST_PREFIX: Final = 1e-12
# Points nearer than this to the edge of the Poincare ball (radius 1) are refused: a float32's last
# bit alone moves them by more than 0.006 of the hyperbolic distance at curvature 1.
EDGE: Final = 1e-5
PASS_BYTES: Final = 2**19


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that never change.

    Attributes:
        rows: (n,) numbers of the rows in the database, ascending.
        matrix: (n, dim) float32, row-major; unit norm under cosine, as given under the others.
        scales: (lengths, n) float32, one line per trained length: under cosine the inverse norm
            of the prefix (0 below SHORTEST_PREFIX), under L2 and inner product its squared norm;
            under the hyperbolic metric one line, the conformal factor 2 / (1 - c |x|^2).
    """

    rows: Rows
    matrix: Vector
    scales: Vector

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def memory_bytes(self) -> int:
        """Size in memory, mapped files included."""
        return self.rows.nbytes + self.matrix.nbytes + self.scales.nbytes

    @cached_property
    def peaks(self) -> Vector:
        """(lengths,) the largest of each line of `scales`; 0 where there are no rows."""
        return np.asarray(self.scales.max(axis=1, initial=0.0))

    def part(self, chosen: slice | npt.NDArray[Any]) -> "Block":
        """Some of the rows: a view for a slice, a copy for an index or a mask."""
        return Block(self.rows[chosen], self.matrix[chosen], self.scales[:, chosen])


@dataclass(frozen=True)
class Geometry:
    """How the vectors of a collection are compared; `dimensions` are the trained lengths.

    The hyperbolic metric is the distance in the Poincare ball of curvature -c: with u = sqrt(c) x
    and a = 2 / (1 - |u|^2), the point lies on the hyperboloid at (y0, ys) = (a - 1, a u), and the
    distance is arcosh(q0 y0 - qs.ys) / sqrt(c). The order is that of the Lorentz inner product, or
    of a (qs.u - q0), which a scan of the points themselves can compute (Nickel and Kiela,
    "Poincare Embeddings", 2017; "Learning Continuous Hierarchies in the Lorentz Model", 2018).
    """

    metric: Metric
    dimensions: tuple[int, ...]
    curvature: float = 1.0

    @classmethod
    def of(cls, spec: CollectionSpec) -> Self:
        """Geometry of a collection."""
        return cls(spec.metric, spec.trained, spec.curvature)

    @property
    def dim(self) -> int:
        """The full length."""
        return self.dimensions[-1]

    def empty(self) -> Block:
        """A block of no rows."""
        lines = 1 if self.metric == "hyperbolic" else len(self.dimensions)
        return Block(
            np.empty(0, np.int64),
            np.empty((0, self.dim), np.float32),
            np.empty((lines, 0), np.float32),
        )

    def block(self, rows: Rows, vectors: Vector) -> Block:
        """Prepares vectors (n, dim), as they were given, for search."""
        if self.metric == "cosine":
            vectors = np.concatenate([unit(vectors[chosen]) for chosen in _passes(vectors)])
        scales = [self._scales(vectors[chosen]) for chosen in _passes(vectors)]
        return Block(rows, vectors, np.concatenate(scales, axis=1))

    def _scales(self, matrix: Vector) -> Vector:
        """See `Block.scales`."""
        squares = np.square(matrix, dtype=np.float64)
        if self.metric == "hyperbolic":
            sums = squares.sum(axis=1, keepdims=True).T
            return np.asarray(2 / (1 - self.curvature * sums), dtype=np.float32)
        starts = [0, *self.dimensions[:-1]]
        sums = np.add.reduceat(squares, starts, axis=1).cumsum(axis=1).T
        if self.metric == "cosine":
            norms = np.sqrt(sums)
            sums = np.divide(1.0, norms, out=np.zeros_like(sums), where=norms > SHORTEST_PREFIX)
        return np.ascontiguousarray(sums, dtype=np.float32)

    def query(self, query: Vector, dimension: int) -> Doubles:
        """Prefix of one query, (dimension,) float64, unit norm under cosine.

        Under the hyperbolic metric (dim + 1,): sqrt(c) qs and then q0, so that a row x with the
        factor a scores a (x.query[:-1] - query[-1]) but for what all rows share.
        """
        prefix = query[:dimension].astype(np.float64)
        if self.metric == "cosine":
            norm = np.sqrt(np.square(prefix).sum())
            return prefix / norm if norm else prefix
        if self.metric == "hyperbolic":
            factor = 2 / (1 - self.curvature * np.square(prefix).sum())
            return np.append(self.curvature * factor * prefix, factor - 1)
        return prefix

    def length_of(self, query: Doubles) -> int:
        """The trained length that a query made by `query` compares at."""
        return len(query) - 1 if self.metric == "hyperbolic" else len(query)

    def compare(self, vectors: Vector, query: Doubles) -> Doubles:
        """Scores, larger is nearer: similarity, or the distance negated.

        In float64 and row by row, so that a score does not depend on a row's neighbours: equal
        vectors score equal to the last bit.

        Args:
            vectors: (n, dim) rows of a block's matrix.
            query: what `Geometry.query` made; its length is the one compared at.
        """
        prefixes = vectors[:, : self.length_of(query)].astype(np.float64)
        if self.metric == "l2":
            return -np.sqrt(np.square(prefixes - query).sum(axis=1))
        if self.metric == "hyperbolic":
            return -self._hyperbolic(prefixes, query)
        dots = np.vecdot(prefixes, query)
        if self.metric == "ip":
            return dots
        norms = np.sqrt(np.vecdot(prefixes, prefixes))
        scores = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > SHORTEST_PREFIX)
        return np.clip(scores, -1.0, 1.0)

    def _hyperbolic(self, points: Doubles, query: Doubles) -> Doubles:
        """Distances by a form of arcosh that keeps the digits of near points."""
        origin = query[:-1] / (self.curvature * (query[-1] + 1))
        gaps = self.curvature * np.square(points - origin).sum(axis=1)
        rests = 1 - self.curvature * np.square(points).sum(axis=1)
        return (
            2 * np.arcsinh(np.sqrt(gaps * (query[-1] + 1) / (2 * rests))) / np.sqrt(self.curvature)
        )


def unit(vectors: Vector) -> Vector:
    """Rows scaled to unit norm, a copy; no row may be all zero."""
    doubles = vectors.astype(np.float64)  # holds the squares of all that float32 holds
    doubles /= np.sqrt(np.vecdot(doubles, doubles))[:, None]
    return doubles.astype(np.float32)


def _passes(vectors: Vector) -> list[slice]:
    """Runs of rows, at least one, whose copies in float64 stay in the cache."""
    step = max(1, PASS_BYTES // (8 * vectors.shape[1]))
    return [slice(start, start + step) for start in range(0, max(1, len(vectors)), step)]
