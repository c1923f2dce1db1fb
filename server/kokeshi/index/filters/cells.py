"""Values of one type in one field, over the rows of a table.

Two layouts. Dense: one entry for each row, where a row without a value holds a mark that no
comparison finds (NaN, or 0 where numbers begin at 1). Sparse: entries beside the numbers of their
rows, for fields that few rows have and for lists, whose row comes once for each value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

# A row number takes 4 bytes: below this share of rows with a value the sparse layout is smaller
# for values of 2 bytes and more.
DENSE_SHARE: Final = 0.25


@dataclass(frozen=True, eq=False)
class Cells:
    """Values, and where they stand.

    Attributes:
        size: rows of the table.
        rows: (m,) int32, ascending; None: dense, m = size.
        data: (m,) arrays, one for each number that a value consists of.
    """

    size: int
    rows: npt.NDArray[np.int32] | None
    data: tuple[Array, ...]

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        rows = 0 if self.rows is None else self.rows.nbytes
        return rows + sum(array.nbytes for array in self.data)

    def spread(self, hits: Mask) -> Mask:
        """Rows (size,) of which one value is hit; `hits` is (m,), and may be handed back."""
        if self.rows is None:
            return hits
        mask = np.zeros(self.size, np.bool_)
        mask[self.rows.compress(hits)] = True
        return mask

    def present(self) -> Mask:
        """Rows (size,) that have a value."""
        if self.rows is None:
            return is_value(self.data[0])
        mask = np.zeros(self.size, np.bool_)
        mask[self.rows] = True
        return mask

    def listed(self) -> tuple[npt.NDArray[np.int32], tuple[Array, ...]]:
        """Row numbers and values, as in the sparse layout."""
        if self.rows is not None:
            return self.rows, self.data
        rows = np.flatnonzero(is_value(self.data[0])).astype(np.int32)
        return rows, tuple(array[rows] for array in self.data)

    def part(self, chosen: slice | Array) -> "Cells | None":
        """Some of the rows, none of them twice; None where no value is left."""
        if self.rows is None:
            data = tuple(array[chosen] for array in self.data)
            kept = is_value(data[0])
            return Cells(len(data[0]), None, data) if kept.any() else None
        positions = np.arange(self.size, dtype=np.int32)[chosen]
        place_of = np.full(self.size, -1, np.int32)
        place_of[positions] = np.arange(len(positions), dtype=np.int32)
        places = place_of[self.rows]
        kept = places >= 0
        return lay(len(positions), places[kept], tuple(array[kept] for array in self.data))


def is_value(array: Array) -> Mask:
    """Where a dense array holds a value and not the mark of none."""
    present: Mask = array == array if array.dtype.kind == "f" else array != 0  # noqa: PLR0124 - NaN alone differs from itself
    return present


def lay(size: int, rows: Array, data: tuple[Array, ...]) -> Cells | None:
    """Cells in the layout that is smaller; None without a value.

    Args:
        size: rows of the table.
        rows: (m,) of the values, in any order.
        data: (m,) arrays.
    """
    if not len(rows):
        return None
    rows = rows.astype(np.int32, copy=False)
    steps = np.diff(rows)
    if (steps < 0).any():
        order = np.argsort(rows, kind="stable")
        rows, data = rows[order], tuple(array[order] for array in data)
        steps = np.diff(rows)
    if len(rows) < DENSE_SHARE * size or not steps.all():
        return Cells(size, rows, data)
    if len(rows) == size:
        return Cells(size, None, data)
    return Cells(size, None, tuple(_dense(size, rows, array) for array in data))


def join(parts: Sequence[tuple[int, Cells | None]]) -> Cells | None:
    """Cells of tables one after another; each with the size of its table."""
    size = sum(rows for rows, _ in parts)
    present = [cells for _, cells in parts if cells is not None]
    if not present:
        return None
    width = max(len(cells.data) for cells in present)
    if len(present) == len(parts) and all(cells.rows is None for cells in present):
        columns = [_column(present, axis) for axis in range(width)]
        return Cells(size, None, tuple(columns))
    listed = []
    start = 0
    for rows, cells in parts:
        if cells is not None:
            numbers, data = cells.listed()
            listed.append(Cells(rows, numbers + np.int32(start), data))
        start += rows
    numbers = np.concatenate([cells.rows for cells in listed if cells.rows is not None])
    return lay(size, numbers, tuple(_column(listed, axis) for axis in range(width)))


def _dense(size: int, rows: Array, array: Array) -> Array:
    absent = np.nan if array.dtype.kind == "f" else 0
    dense = np.full(size, absent, array.dtype)
    dense[rows] = array
    return dense


def _column(parts: Sequence[Cells], axis: int) -> Array:
    # a further number that only some parts have (the residue of large integers) is 0 in the others
    return np.concatenate(
        [
            cells.data[axis] if axis < len(cells.data) else np.zeros(len(cells.data[0]), np.int16)
            for cells in parts
        ]
    )
