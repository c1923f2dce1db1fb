"""Fields of the same rows, and a filter put to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from kokeshi.index.filters import field as fields_of
from kokeshi.index.filters import spill
from kokeshi.index.filters.cells import Array, Mask
from kokeshi.index.filters.field import Field
from kokeshi.index.filters.gathering import gather, parse, text_field
from kokeshi.index.filters.grammar import ID, ORIGIN, And, Filter, Leaf, Not, Or

Record = tuple[str, str, str, bytes]  # id, tenant, origin, metadata as JSON
TENANT: Final = "$tenant"  # kept like a field, but no filter can name it
MORE: Final = "$more"  # so are the values of fields past MAX_FIELDS
OWN: Final = (ID, TENANT, ORIGIN)
MAX_FIELDS: Final = 1024  # of the metadata that have columns of their own


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that never change; `fields` by path, those of the item itself among them."""

    size: int
    fields: dict[str, Field]

    def __len__(self) -> int:
        return self.size

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self:
        """Columns of rows."""
        ids, tenants, origins, documents = zip(*records, strict=True) if records else ((),) * 4
        own = {ID: text_field(ids), TENANT: text_field(tenants), ORIGIN: text_field(origins)}
        fields, more = gather(parse(documents), MAX_FIELDS)
        return cls(len(records), own | fields | ({} if more is None else {MORE: more}))

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        return sum(field.memory_bytes for field in self.fields.values())

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Whose the rows are."""
        return frozenset(text.decode() for text in self.fields[TENANT].vocabulary.texts())

    def tenants_among(self, rows: Mask) -> frozenset[str]:
        """Whose some of the rows, (size,) bool, are."""
        if len(self.tenants) == 1:
            return self.tenants if rows.any() else frozenset()
        chosen = self.fields[TENANT].part(rows)
        texts = [] if chosen is None else chosen.vocabulary.texts()
        return frozenset(text.decode() for text in texts)

    def tenant_mask(self, tenant: str) -> Mask | None:
        """Rows (size,) of a tenant; None: all are."""
        if self.tenants <= {tenant}:
            return None
        return self.fields[TENANT].text_mask(tenant)

    def mask(self, asked: Filter) -> Mask:
        """Rows (size,) that fit."""
        match asked:
            case And(terms=terms):
                return self._combine(np.logical_and, terms, is_neutral=True)
            case Or(terms=terms):
                return self._combine(np.logical_or, terms, is_neutral=False)
            case Not(term=term):
                mask = self.mask(term)
                return np.logical_not(mask, out=mask)
        return self._leaf(asked)

    def part(self, chosen: slice | Array) -> "Table":
        """Some of the rows."""
        size = fields_of.size_of(self.size, chosen)
        parts = {path: field.part(chosen) for path, field in self.fields.items()}
        kept = {path: part for path, part in parts.items() if part is not None}
        if TENANT in kept:  # `tenants` is its vocabulary, which a slice leaves as it was
            kept[TENANT] = kept[TENANT].compact()
        return Table(size, kept)

    def _leaf(self, asked: Leaf) -> Mask:
        field, more = self.fields.get(asked.field), self.fields.get(MORE)
        mask = np.zeros(self.size, np.bool_) if field is None else field.mask(asked)
        return mask if more is None else np.logical_or(mask, spill.mask(more, asked), out=mask)

    def _combine(self, operation: np.ufunc, terms: Sequence[Filter], *, is_neutral: bool) -> Mask:
        if not terms:
            return np.full(self.size, is_neutral, np.bool_)
        mask = self.mask(terms[0])
        for term in terms[1:]:
            operation(mask, self.mask(term), out=mask)
        return mask


def joined(tables: Sequence[Table]) -> Table:
    """Rows of tables, one after another."""
    paths = dict.fromkeys(path for table in tables for path in table.fields)
    asked = [path for path in paths if path not in {*OWN, MORE}]
    tables = [_trimmed(table, frozenset(asked[MAX_FIELDS:])) for table in tables]
    paths = dict.fromkeys(path for table in tables for path in table.fields)
    fields = {
        path: fields_of.joined([(table.size, table.fields.get(path)) for table in tables])
        for path in paths
    }
    return Table(sum(map(len, tables)), fields)


def _trimmed(table: Table, beyond: frozenset[str]) -> Table:
    """The table with some fields moved among those without columns of their own."""
    moved = [path for path in table.fields if path in beyond]
    if not moved:
        return table
    runs = [run for path in moved for run in spill.entries(path, table.fields[path])]
    if MORE in table.fields:
        runs.append(spill.listed(table.fields[MORE]))
    fields = {path: field for path, field in table.fields.items() if path not in beyond}
    more = spill.spilled(table.size, runs)
    return Table(table.size, fields if more is None else fields | {MORE: more})
