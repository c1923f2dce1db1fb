"""Metadata of the rows of a collection as columns, which answer filters without reading a row."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from kokeshi.index.filters import table as tables_of
from kokeshi.index.filters.cells import Array, Mask
from kokeshi.index.filters.grammar import Filter
from kokeshi.index.filters.packing import pack, unpack
from kokeshi.index.filters.table import Record, Table

# So few rows are held as they came, and become columns when they are asked: the fixed cost of a
# table is that of as many rows.
RECENT_ROWS: Final = 256
# Tables of about one size are joined when there are this many: so each row is copied about once for
# each time that a segment grows fourfold, and few tables stand beside one another.
FAN_IN: Final = 4


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows that never change, in the order in which they were given.

    Many threads may ask at once. Masks are fresh arrays, the caller's to change.

    Attributes:
        settled: runs of rows, each with columns of its own.
        recent: rows after those.
    """

    settled: tuple[Table, ...]
    recent: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.settled)) + len(self.recent)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All rows with columns."""
        return (*self.settled, Table.of(self.recent)) if self.recent else self.settled

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        return cls(())

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self:
        """Columns of rows (id, tenant, origin, metadata as the bytes of a JSON object)."""
        return cls((Table.of(records),) if records else ())

    @classmethod
    def ready(cls, records: Sequence[Record]) -> "Self | Sequence[Record]":
        """Columns of rows, or the rows themselves where they are too few to be worth columns."""
        return cls.of(records) if len(records) >= RECENT_ROWS else records

    @classmethod
    def joined(cls, parts: "Sequence[Columns]") -> Self:
        """Rows of parts one after another, laid out as one table."""
        tables = [table for part in parts for table in part.tables if len(table)]
        if len(tables) < 2:  # noqa: PLR2004 - one is joined already
            return cls(tuple(tables))
        return cls((tables_of.joined(tables),))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """The inverse of `to_bytes`; the arrays are views of `data`, which may be a mapped file.

        Raises:
            ValueError: these are no columns, or of another version.
        """
        table = unpack(data)
        return cls((table,) if len(table) else ())

    def to_bytes(self) -> bytes:
        """As bytes of this version on this kind of machine, without a checksum."""
        tables = Columns.joined([self]).tables
        return pack(tables[0] if tables else Table.of(()))

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        recent = sum(sum(map(sys.getsizeof, record)) for record in self.recent)
        return recent + sum(table.memory_bytes for table in self.settled)

    @cached_property
    def _tenants(self) -> frozenset[str]:
        recent = {tenant for _, tenant, _, _ in self.recent}
        return frozenset(recent).union(*(table.tenants for table in self.settled))

    def tenants(self, among: Mask | None = None) -> frozenset[str]:
        """Whose the rows are, or some of them: (n,) bool."""
        if among is None:
            return self._tenants
        ends = np.cumsum([len(table) for table in self.tables])
        masks = np.split(among, ends[:-1])
        parts = zip(self.tables, masks, strict=True) if len(ends) else ()
        return frozenset().union(*(table.tenants_among(mask) for table, mask in parts))

    def mask(self, asked: Filter) -> Mask:
        """Rows (n,) that fit a filter, which `check` has passed."""
        return _concatenated([table.mask(asked) for table in self.tables])

    def tenant_mask(self, tenant: str) -> Mask | None:
        """Rows (n,) of a tenant; None: all are."""
        if self._tenants <= {tenant}:
            return None
        masks = [(table, table.tenant_mask(tenant)) for table in self.tables]
        return _concatenated(
            [np.ones(len(table), np.bool_) if mask is None else mask for table, mask in masks]
        )

    def part(self, chosen: slice | Array) -> "Columns":
        """Some of the rows: views for a slice, copies for a mask or an index without repeats."""
        if isinstance(chosen, slice) and chosen.indices(len(self)) == (0, len(self), 1):
            return self
        joined = Columns.joined([self])
        tables = tuple(table.part(chosen) for table in joined.tables)
        return Columns(tuple(table for table in tables if len(table)))


class ColumnsGrower:
    """Columns that grow; what was handed out before never changes. For one thread at a time."""

    def __init__(self, columns: Columns | None = None) -> None:
        columns = columns or Columns.empty()
        self._settled = list(columns.settled)
        self._recent = columns.recent

    def append(self, records: Sequence[Record]) -> Columns:
        """Appends rows as they came, and hands out all of them."""
        self._recent = (*self._recent, *records)
        if len(self._recent) >= RECENT_ROWS:
            self._settle_recent()
        return self._all()

    def extend(self, columns: Columns) -> Columns:
        """Appends rows that have columns already, and hands out all of them."""
        self._settle_recent()
        for table in columns.tables:
            self._settle(table)
        return self._all()

    def _all(self) -> Columns:
        return Columns(tuple(self._settled), self._recent)

    def _settle_recent(self) -> None:
        if self._recent:
            self._settle(Table.of(self._recent))
            self._recent = ()

    def _settle(self, newest: Table) -> None:
        self._settled.append(newest)
        first, after = len(self._settled) - 1, 0
        for place in reversed(range(len(self._settled))):
            size = len(self._settled[place])
            if size * (FAN_IN - 1) <= after:
                first = place
            after += size
        # all of them at once: a table is copied once, not once for each of the others
        run = self._settled[first:]
        self._settled[first:] = [tables_of.joined(run)] if run[1:] else run


def _concatenated(masks: list[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    return np.concatenate(masks) if masks else np.zeros(0, np.bool_)
