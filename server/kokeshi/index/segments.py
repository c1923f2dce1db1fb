"""Runs of rows as they are held in memory: one that grows, then sealed ones that never move.

A collection's rows are its segments one after the other. Only `Grower` is written to, and only
beyond what it has shown; so a search may keep any segment for as long as it likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.filters import Columns, ColumnsGrower, Record
from kokeshi.index.geometry import Block, Geometry, Rows
from kokeshi.index.kernels import Codes, Part

FIRST_ROWS: Final = 64
# Room is made this many times larger: it costs no memory before it is written to, whereas rows that
# move to new room are written once more.
GROWTH: Final = 16

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of rows that never changes; a delete makes another one with the same arrays.

    Attributes:
        block: the rows, ascending.
        codes: their int8 prefixes; None where the collection is never searched by codes.
        columns: their metadata and tenants.
        live: (n,) bool, false where a row was deleted or replaced; None: all live.
        seq: the last write that added rows; a write's rows are never split over two segments.
        token: names its files; "" while it has none.
    """

    block: Block
    codes: Codes | None
    columns: Columns
    live: Mask | None
    seq: int
    token: str = ""

    def __len__(self) -> int:
        return len(self.block)

    @cached_property
    def dead(self) -> int:
        """Rows that do not live."""
        return 0 if self.live is None else len(self) - int(np.count_nonzero(self.live))

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Whose the rows are that live."""
        return self.columns.tenants(self.live)

    @cached_property
    def memory_bytes(self) -> int:
        """Anonymous memory: not what is mapped from a file."""
        held = self.block.memory_bytes - self.mapped_bytes + self.columns.memory_bytes
        held += 0 if self.live is None else self.live.nbytes
        return held + (0 if self.codes is None else self.codes.memory_bytes)

    @cached_property
    def mapped_bytes(self) -> int:
        """Size of the vectors where they are mapped from a file."""
        return self.block.matrix.nbytes if is_mapped(self.block.matrix) else 0

    def part(self, allowed: Mask | None, chosen: slice | None = None) -> Part:
        """What the kernels scan: the rows, or a run of them."""
        if chosen is None:
            return Part(self.block, self.codes, allowed)
        codes = None if self.codes is None else cut_codes(self.codes, chosen)
        return Part(self.block.part(chosen), codes, None if allowed is None else allowed[chosen])

    def dead_rows(self) -> Rows:
        """Numbers of the dead rows."""
        return self.block.rows[:0] if self.live is None else self.block.rows[~self.live]

    def without(self, rows: Rows) -> "Segment":
        """The same with some rows dead; rows that it does not hold are ignored."""
        gone = locate(self.block.rows, rows)
        if not len(gone):
            return self
        live = np.ones(len(self), np.bool_) if self.live is None else self.live.copy()
        live[gone] = False
        return self.masked(live)

    def masked(self, live: Mask | None) -> "Segment":
        """The same with other rows alive."""
        return replace(self, live=live)

    def compacted(self) -> "Segment":
        """A copy that holds the live rows only; itself where all live."""
        if self.live is None:
            return self
        return Segment(
            block=self.block.part(self.live),
            codes=None if self.codes is None else cut_codes(self.codes, self.live),
            columns=self.columns.part(self.live),
            live=None,
            seq=self.seq,
        )


class Grower:
    """Room for new rows; what was handed out never changes.

    Args:
        geometry: of the collection.
        width: length of the int8 prefixes; None keeps none.
        most: rows that it is meant for; a larger batch still fits.
        seq: the last write before its rows.
    """

    def __init__(self, geometry: Geometry, width: int | None, most: int, seq: int = 0) -> None:
        self._geometry = geometry
        self._width = width
        self._most = most
        self._size = 0
        self._room = self._allocated(FIRST_ROWS)
        self._columns = ColumnsGrower()
        self.segment = self._shown(Columns.empty(), None, seq)

    def append(
        self, block: Block, codes: Codes | None, said: Columns | Sequence[Record], seq: int
    ) -> Segment:
        """Adds rows, returns the segment of all of them.

        Args:
            block: the rows, newer than those that it holds.
            codes: their codes, as wide as all others; None where none are kept.
            said: id, tenant, origin and metadata of each, or columns of these.
            seq: the write that made them.
        """
        live = self.segment.live
        end = self._size + len(block)
        if end > len(self._room[0]):
            self._grow(end)
        self._fill(self._size, block, codes)
        self._size = end
        if live is not None:
            live = np.concatenate([live, np.ones(len(block), np.bool_)])
        self.segment = self._shown(self._described(said), live, seq)
        return self.segment

    def delete(self, rows: Rows) -> Segment:
        """Marks rows as dead, returns the segment."""
        self.segment = self.segment.without(rows)
        return self.segment

    def _described(self, said: Columns | Sequence[Record]) -> Columns:
        if isinstance(said, Columns):
            return self._columns.extend(said)
        return self._columns.append(said)

    def _grow(self, rows: int) -> None:
        old_block, old_codes = self._view(self._size)
        self._room = self._allocated(max(rows, min(GROWTH * len(self._room[0]), self._most)))
        self._fill(0, old_block, old_codes)

    def _allocated(self, rows: int) -> tuple[Block, Codes | None]:
        lengths = len(self._geometry.empty().scales)
        block = Block(
            np.empty(rows, np.int64),
            np.empty((rows, self._geometry.dim), np.float32),
            np.empty((lengths, rows), np.float32),
        )
        if self._width is None:
            return block, None
        return block, Codes(
            np.empty((rows, self._width), np.int8), np.empty(rows, np.float32), self._width
        )

    def _fill(self, start: int, block: Block, codes: Codes | None) -> None:
        into, into_codes = self._room
        chosen = slice(start, start + len(block))
        into.rows[chosen] = block.rows
        into.matrix[chosen] = block.matrix
        into.scales[:, chosen] = block.scales
        if into_codes is not None and codes is not None:
            into_codes.values[chosen] = codes.values
            into_codes.scales[chosen] = codes.scales

    def _view(self, size: int) -> tuple[Block, Codes | None]:
        block, codes = self._room
        chosen = slice(0, size)
        return block.part(chosen), None if codes is None else cut_codes(codes, chosen)

    def _shown(self, columns: Columns, live: Mask | None, seq: int) -> Segment:
        block, codes = self._view(self._size)
        return Segment(block, codes, columns, live, seq)


def joined(segments: Sequence[Segment]) -> Segment:
    """One segment with copies of the rows of several, in their order, dead ones too."""
    blocks = [segment.block for segment in segments]
    codes = [segment.codes for segment in segments if segment.codes is not None]
    return Segment(
        block=Block(
            np.concatenate([block.rows for block in blocks]),
            np.concatenate([block.matrix for block in blocks]),
            np.concatenate([block.scales for block in blocks], axis=1),
        ),
        codes=_joined_codes(codes) if codes else None,
        columns=Columns.joined([segment.columns for segment in segments]),
        live=_joined_live(segments),
        seq=segments[-1].seq,
    )


def _joined_live(segments: Sequence[Segment]) -> Mask | None:
    if all(segment.live is None for segment in segments):
        return None
    return np.concatenate(
        [
            np.ones(len(segment), np.bool_) if segment.live is None else segment.live
            for segment in segments
        ]
    )


def _joined_codes(codes: Sequence[Codes]) -> Codes:
    return Codes(
        np.concatenate([one.values for one in codes]),
        np.concatenate([one.scales for one in codes]),
        codes[0].width,
    )


def cut_codes(codes: Codes, chosen: slice | Mask) -> Codes:
    """Some of the codes: a view for a slice, a copy for a mask."""
    return Codes(codes.values[chosen], codes.scales[chosen], codes.width)


def is_mapped(matrix: npt.NDArray[np.float32]) -> bool:
    """True for an array whose memory is a file's."""
    owner: object = matrix
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap):
            return True
        owner = owner.base
    return False


def locate(rows: Rows, wanted: Rows) -> Positions:
    """Positions in ascending `rows` of those of `wanted` that are there."""
    if not len(rows) or not len(wanted):
        return np.empty(0, np.intp)
    positions = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return positions[rows[positions] == wanted]
