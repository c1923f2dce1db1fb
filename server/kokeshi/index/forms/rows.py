"""Rows and queries as FAISS takes them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.geometry import SHORTEST_PREFIX, Doubles, Geometry
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Part, gather

BUILD_ROWS: Final = 2048  # between two looks at whether to stop


def prepared(geometry: Geometry, matrix: Vector, length: int) -> Vector:
    """Rows (n, length) float32, contiguous, of the first columns of a block's matrix.

    Under cosine of unit norm; a prefix without direction stays 0.
    """
    prefixes: npt.NDArray[Any] = np.asarray(matrix)[:, :length]
    if geometry.metric == "cosine" and length != geometry.dim:
        norms = np.linalg.norm(prefixes, axis=1, keepdims=True)
        prefixes = prefixes / np.where(norms > SHORTEST_PREFIX, norms, 1)
    return np.ascontiguousarray(prefixes, dtype=np.float32)


def line(query: Doubles) -> Vector:
    """A query (1, length) float32 for rows made by `prepared`."""
    return query.astype(np.float32)[None]


def chunks(
    geometry: Geometry, parts: Sequence[Part], length: int, start: int, stop: int
) -> Iterator[Vector]:
    """Prepared rows of positions from `start` to `stop`, a few at a time."""
    for low in range(start, stop, BUILD_ROWS):
        positions = np.arange(low, min(low + BUILD_ROWS, stop))
        yield prepared(geometry, gather(geometry, parts, positions).matrix, length)


def sample(geometry: Geometry, parts: Sequence[Part], length: int, size: int, most: int) -> Vector:
    """Prepared rows to train on: all of the first `size`, or so many spread evenly over them."""
    positions = np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.intp))
    return prepared(geometry, gather(geometry, parts, positions).matrix, length)
