"""What searches see: an index, newer rows beside it and the dead of both. Nothing in it changes.

The writer and the builder publish a new snapshot for every change; a search keeps the one that it
began with. Only `Tail` is written to, and only beyond what any snapshot shows.
"""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from kokeshi.index.faiss_index import Base, Bits
from kokeshi.index.geometry import Block, Geometry, Rows
from kokeshi.index.scan import Positions

FIRST_TAIL_ROWS: Final = 64


def _none() -> Positions:
    return np.empty(0, np.intp)


def _no_bits() -> Bits:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One state of a collection, after the write `seq`.

    Attributes:
        base: the index, or None while the collection is small.
        tail: rows newer than the index.
        base_dead: positions in `base.block` of rows deleted since, ascending.
        live_bits: the same, as FAISS wants it: one bit per row, set where it lives.
        tail_dead: positions in `tail`, ascending.
    """

    seq: int
    tail: Block
    base: Base | None = None
    base_dead: Positions = field(default_factory=_none)
    live_bits: Bits = field(default_factory=_no_bits)
    tail_dead: Positions = field(default_factory=_none)

    @property
    def count(self) -> int:
        """Rows that live."""
        base = len(self.base.block) if self.base else 0
        return base + len(self.tail) - self.dead

    @property
    def dead(self) -> int:
        """Rows that are held, but deleted or replaced."""
        return len(self.base_dead) + len(self.tail_dead)

    def without(self, rows: Rows) -> "Snapshot":
        """The same with some rows dead; rows that it does not hold are ignored."""
        tail_dead = np.union1d(self.tail_dead, locate(self.tail.rows, rows))
        if self.base is None:
            return replace(self, tail_dead=tail_dead)
        gone = locate(self.base.block.rows, rows)
        if not len(gone):
            return replace(self, tail_dead=tail_dead)
        return replace(
            self,
            tail_dead=tail_dead,
            base_dead=np.union1d(self.base_dead, gone),
            live_bits=_cleared(self.live_bits, gone),
        )

    def live_blocks(self) -> list[Block]:
        """Copies of the rows that live, in ascending order."""
        blocks = [self.live_tail()]
        if self.base is not None:
            mask = np.ones(len(self.base.block), dtype=bool)
            mask[self.base_dead] = False
            blocks.insert(0, self.base.block.part(mask))
        return blocks

    def live_tail(self) -> Block:
        """A copy of the live rows of the tail."""
        mask = np.ones(len(self.tail), dtype=bool)
        mask[self.tail_dead] = False
        return self.tail.part(mask)

    def dead_rows(self) -> Rows:
        """Numbers of the dead rows."""
        dead = self.tail.rows[self.tail_dead]
        if self.base is None:
            return dead
        return np.concatenate([self.base.block.rows[self.base_dead], dead])


class Tail:
    """Room that grows; what was handed out never changes."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._size = 0
        self._room = self._allocated(FIRST_TAIL_ROWS)

    def append(self, block: Block) -> Block:
        """Adds rows, returns a view of all."""
        end = self._size + len(block)
        if end > len(self._room):
            bigger = self._allocated(max(end, 2 * len(self._room)))
            self._copy(bigger, 0, self._room.part(slice(0, self._size)))
            self._room = bigger
        self._copy(self._room, self._size, block)
        self._size = end
        return self._room.part(slice(0, end))

    def _allocated(self, rows: int) -> Block:
        lengths = len(self._geometry.dimensions)
        return Block(
            np.empty(rows, np.int64),
            np.empty((rows, self._geometry.dim), np.float32),
            np.empty((lengths, rows), np.float32),
        )

    @staticmethod
    def _copy(into: Block, start: int, block: Block) -> None:
        end = start + len(block)
        into.rows[start:end] = block.rows
        into.matrix[start:end] = block.matrix
        into.scales[:, start:end] = block.scales


def locate(rows: Rows, wanted: Rows) -> Positions:
    """Positions in ascending `rows` of those of `wanted` that are there."""
    if not len(rows) or not len(wanted):
        return _none()
    positions = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return positions[rows[positions] == wanted]


def all_live(rows: int) -> Bits:
    """Bits for `rows` rows that all live."""
    return np.full((rows + 7) // 8, 0xFF, np.uint8)


def _cleared(bits: Bits, positions: Positions) -> Bits:
    cleared = bits.copy()
    masks = np.invert(np.left_shift(1, positions & 7).astype(np.uint8))
    np.bitwise_and.at(cleared, positions >> 3, masks)
    return cleared
