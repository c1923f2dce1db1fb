"""Rows as 8-bit integers: a prefix scan that reads a quarter of the bytes, or less."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.geometry import Block, Geometry
from kokeshi.index.items import Vector
from kokeshi.index.kernels.runs import Run, runs_of
from kokeshi.index.spec import Metric

CodeValues = npt.NDArray[np.int8]

LARGEST_CODE: Final = 127
# Largest numbers of rows are rounded up to powers of this one, so that the rows of a collection
# share a step or two: rows of unit norm and up to thousands of numbers have one between 1/16 and 1.
PEAK_BASE: Final = 16.0
ROWS_PER_PASS: Final = 4096  # of encoding: the float copies stay in the cache
_SIGN_BIT: Final = np.int8(-128)


@dataclass(frozen=True, eq=False)
class Codes:
    """The first `width` numbers of each row, rounded to a step of the row's own.

    Attributes:
        values: (n, width) int8, row-major: numbers of steps from -127 to 127 with the sign bit
            turned over, which is what FAISS reads; `steps` turns it back.
        scales: (n,) float32, one step of each row, a power of PEAK_BASE over 127; 0 for a row that
            is all zero.
        width: numbers per row, a trained length.
    """

    values: CodeValues
    scales: Vector
    width: int

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        return self.values.nbytes + self.scales.nbytes

    @property
    def steps(self) -> CodeValues:
        """(n, width) int8 numbers of steps: times `scales` they are the row but for rounding."""
        return self.values ^ _SIGN_BIT

    @cached_property
    def largest_scale(self) -> float:
        """Of all rows; 0 where there are none."""
        return float(self.scales.max(initial=0.0))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The codes as FAISS scans them, not copied."""
        return runs_of(self.values.view(np.uint8), self.scales)


def are_coded(metric: Metric) -> bool:
    """Tells whether scans of codes serve a metric: those that are an inner product and no more."""
    return metric in {"cosine", "ip"}


def encode(geometry: Geometry, block: Block, width: int) -> Codes:
    """Codes of a block's prefixes.

    Every row has a symmetric step of its own, so nothing is trained, nothing is clipped, and a
    row's codes do not depend on its neighbours.

    Args:
        geometry: of the block.
        block: the rows.
        width: a trained length.
    """
    assert width in geometry.dimensions
    values = np.empty((len(block), width), np.int8)
    scales = np.empty(len(block), np.float32)
    for start in range(0, len(block), ROWS_PER_PASS):
        chosen = slice(start, start + ROWS_PER_PASS)
        values[chosen], scales[chosen] = quantised(block.matrix[chosen, :width])
    return Codes(values, scales, width)


def quantised(vectors: Vector) -> tuple[CodeValues, Vector]:
    """Codes (n, width) int8 and steps (n,) float32 of vectors (n, width) float32."""
    peaks = np.abs(vectors).max(axis=1, initial=0.0).astype(np.float64)
    # rows below float32's normal numbers are as good as zero
    is_something = peaks >= np.finfo(np.float32).tiny
    exponents = np.ceil(np.log(np.where(is_something, peaks, 1.0)) / np.log(PEAK_BASE))
    scales = np.where(is_something, PEAK_BASE**exponents / LARGEST_CODE, 0.0).astype(np.float32)
    inverse = np.divide(1.0, scales, out=np.zeros(len(scales)), where=is_something)
    steps = np.rint(vectors * inverse[:, None]).clip(-LARGEST_CODE, LARGEST_CODE)
    return steps.astype(np.int8) ^ _SIGN_BIT, scales
