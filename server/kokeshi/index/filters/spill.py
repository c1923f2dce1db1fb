"""Fields beyond the most that a table has columns for: all of them in one column of texts.

An entry is "path NUL value as JSON". A field is an interval of the vocabulary, and a condition is
put to each of its distinct values: slower than a column of its own, as right, and no more memory
than the metadata themselves, whatever keys a client invents.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from kokeshi.index.filters import geo, numbers
from kokeshi.index.filters.cells import Cells, Mask, lay
from kokeshi.index.filters.field import TRUE_CODE, Field
from kokeshi.index.filters.grammar import Leaf
from kokeshi.index.filters.matching import fits
from kokeshi.index.filters.vocabulary import encode

Entries = tuple[Sequence[int], Sequence[str]]  # row numbers, and the entry of each


def spilled(size: int, runs: Iterable[Entries]) -> Field | None:
    """The column of entries; None without one."""
    rows: list[int] = []
    texts: list[str] = []
    for run_rows, run_texts in runs:
        rows += run_rows
        texts += run_texts
    codes, vocabulary = encode(texts)
    cells = lay(size, np.array(rows, np.int32), (codes,))
    return None if cells is None else Field(size, vocabulary, cells)


def entry(path: str, value: object) -> str:
    """One value of a field; {} is there, and nothing else."""
    return f"{path}\0{orjson.dumps(value).decode()}"


def mask(spill: Field, leaf: Leaf) -> Mask:
    """Rows (size,) whose entries fit."""
    head = f"{leaf.field}\0"
    first, past = spill.vocabulary.beginning(head)
    if spill.texts is None or first >= past:
        return np.zeros(spill.size, np.bool_)
    skipped = len(head.encode())
    wanted = np.zeros(len(spill.vocabulary) + 1, np.bool_)
    for rank in range(first, past):
        value = orjson.loads(spill.vocabulary.at(rank)[skipped:])
        wanted[rank + 1] = fits(leaf, value)
    return spill.texts.spread(wanted[spill.texts.data[0]])


def entries(path: str, field: Field) -> list[Entries]:
    """The values of a field that had columns of its own."""
    return [
        _entries(path, field.texts, lambda data: _texts(field, data)),
        _entries(path, field.numbers, _numbers),
        _entries(path, field.booleans, lambda data: (data[0] == TRUE_CODE).tolist()),
        _entries(path, field.points, _points),
        _entries(path, field.others, lambda data: [{}] * len(data[0])),
    ]


def listed(spill: Field) -> Entries:
    """The entries of a column of them."""
    if spill.texts is None:
        return [], []
    rows, data = spill.texts.listed()
    return rows.tolist(), _texts(spill, data)


def _entries(path: str, cells: Cells | None, values_of: Any) -> Entries:  # noqa: ANN401 - reads the cells' own arrays
    if cells is None:
        return [], []
    rows, data = cells.listed()
    return rows.tolist(), [entry(path, value) for value in values_of(data)]


def _texts(field: Field, data: tuple[Any, ...]) -> list[str]:
    texts = [text.decode() for text in field.vocabulary.texts()]
    return [texts[code - 1] for code in data[0].tolist()]


def _numbers(data: tuple[Any, ...]) -> list[int | float]:
    if len(data) == 1:
        values: list[int | float] = data[0].tolist()
        return values
    return [numbers.value(*pair) for pair in zip(data[0].tolist(), data[1].tolist(), strict=True)]


def _points(data: tuple[Any, ...]) -> list[dict[str, float]]:
    latitudes, longitudes = geo.decode(*data)
    return [
        {"lat": latitude, "lon": longitude}
        for latitude, longitude in zip(latitudes.tolist(), longitudes.tolist(), strict=True)
    ]
