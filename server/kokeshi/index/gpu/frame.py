"""Rows and queries moved and scaled so that float16 keeps what tells them apart.

Embeddings often have a mean that is larger than their differences, and float16 has 11 bits. To take
the mean away from rows changes every inner product with a query by the same number, and to scale
them multiplies it; under L2 the same is done to the query. So no order changes.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from kokeshi.index.geometry import Doubles
from kokeshi.index.gpu.faults import UnfitRowsError
from kokeshi.index.items import Vector
from kokeshi.index.spec import Metric

LARGEST: Final = 16.0  # of the numbers of a sample; float16 has room for 4000 times that
HALF_MOST: Final = 65504.0  # of float16


@dataclass(frozen=True, eq=False)
class Frame:
    """Where rows are seen from.

    Attributes:
        shift: (length,) float32, taken from every row.
        scale: a power of two that rows are multiplied by then.
    """

    metric: Metric
    shift: Vector
    scale: np.float32

    @classmethod
    def of(cls, metric: Metric, sample: Vector) -> Self:
        """A frame that suits rows like those of a sample (n, length), n at least 1."""
        shift = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(metric, shift, _scale(sample - shift))

    def rows(self, rows: Vector) -> Vector:
        """Rows (n, length) float32 as they are sent, in place.

        Raises:
            UnfitRowsError: float16 cannot hold one.
        """
        rows -= self.shift
        rows *= self.scale
        if np.abs(rows).max(initial=0.0) > HALF_MOST:
            raise UnfitRowsError("a number is beyond float16")
        return rows

    def query(self, query: Doubles) -> Vector | None:
        """A query (length,) as it is sent; None: it is too far from the rows for float16."""
        if self.metric != "l2":
            line = query.astype(np.float32)
            return line * _scale(line)
        line = ((query - self.shift) * self.scale).astype(np.float32)
        return line if np.abs(line).max() <= HALF_MOST else None


def _scale(numbers: Vector) -> np.float32:
    most = float(np.abs(numbers).max(initial=0.0))
    return np.float32(2.0 ** np.floor(np.log2(LARGEST / most)) if most else 1.0)
