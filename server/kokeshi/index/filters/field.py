"""One field of the metadata as columns, and the questions of the grammar put to it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Final

import numpy as np

from kokeshi.index.filters.cells import Array, Cells, Mask, join
from kokeshi.index.filters.geo import nearness
from kokeshi.index.filters.grammar import (
    Equals,
    Exists,
    In,
    Leaf,
    Prefix,
    Range,
    Scalar,
    Within,
)
from kokeshi.index.filters.numbers import equal_to, in_range, one_of
from kokeshi.index.filters.vocabulary import Vocabulary, code_type, merge

KINDS: Final = ("texts", "numbers", "booleans", "points", "others")
FALSE_CODE: Final = 1  # of `Field.booleans`; 0 is no value
TRUE_CODE: Final = 2
NO_TEXTS: Final = Vocabulary.of([])


@dataclass(frozen=True, eq=False)
class Field:
    """What the rows of a table hold under one path.

    Attributes:
        size: rows of the table.
        texts: codes, which are ranks in `vocabulary` + 1.
        numbers: float64, and int16 residues of integers that float64 does not hold.
        booleans: FALSE_CODE and TRUE_CODE, uint8.
        points: x, y and z on the unit sphere, float64.
        others: 1 for rows that hold a list or an object, uint8.
    """

    size: int
    vocabulary: Vocabulary = NO_TEXTS
    texts: Cells | None = None
    numbers: Cells | None = None
    booleans: Cells | None = None
    points: Cells | None = None
    others: Cells | None = None

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        return self.vocabulary.memory_bytes + sum(cells.memory_bytes for cells in self.cells())

    def cells(self) -> list[Cells]:
        """Of each type that it has."""
        found = [getattr(self, kind) for kind in KINDS]
        return [cells for cells in found if cells is not None]

    def mask(self, leaf: Leaf) -> Mask:
        """Rows (size,) that fit."""
        match leaf:
            case Equals(value=value):
                return self._among([value])
            case In(values=values):
                return self._among(values)
            case Range():
                return self._between(leaf)
            case Prefix(text=text):
                return self._coded(self.vocabulary.beginning(text))
            case Within():
                near = nearness(leaf)
                return self._hit(self.points, lambda data: near(*data))
            case Exists():
                return self._any(cells.present() for cells in self.cells())

    def text_mask(self, text: str) -> Mask:
        """Rows (size,) that hold a text."""
        return self._coded(self.vocabulary.find(text))

    def part(self, chosen: slice | Array) -> "Field | None":
        """Some of the rows; None where no value is left."""
        kept = {
            kind: cells.part(chosen) for kind in KINDS if (cells := getattr(self, kind)) is not None
        }
        if all(cells is None for cells in kept.values()):
            return None
        size = size_of(self.size, chosen)
        field = Field(size, self.vocabulary, **kept)
        return field if isinstance(chosen, slice) else field.compact()

    def compact(self) -> "Field":
        """Without texts that no row holds any more."""
        if self.texts is None:
            return replace(self, vocabulary=NO_TEXTS)
        used = np.zeros(len(self.vocabulary) + 1, np.bool_)
        used[self.texts.data[0]] = True
        ranks = np.flatnonzero(used[1:])
        if len(ranks) == len(self.vocabulary):
            return self
        codes = np.zeros(len(used), code_type(len(ranks)))
        codes[ranks + 1] = np.arange(1, len(ranks) + 1)
        return replace(
            self, texts=_recoded(self.texts, codes), vocabulary=self.vocabulary.part(ranks)
        )

    def _among(self, values: Iterable[Scalar]) -> Mask:
        texts, numbers, booleans = _by_type(values)
        return self._any(
            [
                *([self._texts(texts)] if texts else ()),
                *([self._numbered(numbers)] if numbers else ()),
                *map(self._boolean, set(booleans)),
            ]
        )

    def _between(self, leaf: Range) -> Mask:
        bounds = (leaf.above, leaf.least, leaf.most, leaf.below)
        if any(isinstance(bound, str) for bound in bounds):
            return self._coded(self.vocabulary.between(*bounds))  # type: ignore[arg-type] # if one is a text, all are
        return self._hit(self.numbers, lambda data: in_range(data, leaf))

    def _numbered(self, values: Sequence[int | float]) -> Mask:
        if len(values) == 1:
            return self._hit(self.numbers, lambda data: equal_to(data, values[0]))
        return self._hit(self.numbers, lambda data: one_of(data, values))

    def _boolean(self, value: bool) -> Mask:
        code = TRUE_CODE if value else FALSE_CODE
        return self._hit(self.booleans, lambda data: data[0] == code)

    def _texts(self, texts: Sequence[str]) -> Mask:
        if len(texts) == 1:
            return self._coded(self.vocabulary.find(texts[0]))
        wanted = np.zeros(len(self.vocabulary) + 1, np.bool_)
        wanted[1:] = self.vocabulary.find_all(texts)
        return self._hit(self.texts, lambda data: wanted[data[0]])

    def _coded(self, ranks: tuple[int, int]) -> Mask:
        first, past = ranks
        if first >= past:
            return np.zeros(self.size, np.bool_)
        return self._hit(self.texts, lambda data: _within(data[0], first + 1, past - first))

    def _hit(self, cells: Cells | None, test: Callable[[tuple[Array, ...]], Mask]) -> Mask:
        return np.zeros(self.size, np.bool_) if cells is None else cells.spread(test(cells.data))

    def _any(self, masks: Iterable[Mask]) -> Mask:
        found: Mask | None = None
        for mask in masks:
            found = mask if found is None else np.logical_or(found, mask, out=found)
        return np.zeros(self.size, np.bool_) if found is None else found


def joined(parts: Sequence[tuple[int, Field | None]]) -> Field:
    """A field of tables one after another; each with the size of its table."""
    present = [field for _, field in parts if field is not None]
    maps, vocabulary = merge([field.vocabulary for field in present])
    recoded = iter(starmap(_with_codes, zip(present, maps, strict=True)))
    fields = [(size, None if field is None else next(recoded)) for size, field in parts]
    return Field(
        sum(size for size, _ in parts),
        vocabulary,
        **{
            kind: join([(size, getattr(field, kind, None)) for size, field in fields])
            for kind in KINDS
        },
    )


def _with_codes(field: Field, codes: Array | None) -> Field:
    if codes is None or field.texts is None:
        return field
    return replace(field, texts=_recoded(field.texts, codes))


def _recoded(texts: Cells, codes: Array) -> Cells:
    return replace(texts, data=(codes[texts.data[0]],))


def _within(codes: Array, first: int, count: int) -> Mask:
    """Codes first to first + count - 1, by one comparison: below `first` the difference wraps."""
    if count == 1:
        equal: Mask = codes == first
        return equal
    near: Mask = codes - codes.dtype.type(first) < count
    return near


def _by_type(values: Iterable[Scalar]) -> tuple[list[str], list[int | float], list[bool]]:
    texts: list[str] = []
    numbers: list[int | float] = []
    booleans: list[bool] = []
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, bool):
            booleans.append(value)
        else:
            numbers.append(value)
    return texts, numbers, booleans


def size_of(size: int, chosen: slice | Array) -> int:
    """How many of `size` rows are chosen."""
    if isinstance(chosen, slice):
        return len(range(size)[chosen])
    return int(chosen.sum()) if chosen.dtype == np.bool_ else len(chosen)
