"""Metadata of rows, turned into columns: one for each path into the objects.

A path is the keys down to a value with dots between them. Lists hold values, not further keys: of
an object in a list only its place on Earth counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.index.filters import geo, numbers
from kokeshi.index.filters.cells import lay
from kokeshi.index.filters.field import FALSE_CODE, NO_TEXTS, Field
from kokeshi.index.filters.grammar import MAX_PATH_CHARACTERS, MAX_PATH_KEYS
from kokeshi.index.filters.spill import Entries, entry, spilled
from kokeshi.index.filters.vocabulary import encode

Placed = tuple[Sequence[int], Sequence[Any]]  # row numbers, and the values there
CHUNK_DOCUMENTS: Final = 4096


@dataclass
class _Raw:
    """Values of one path by type, each with its row."""

    texts: list[Placed] = field(default_factory=list)
    numbers: list[Placed] = field(default_factory=list)
    booleans: list[Placed] = field(default_factory=list)
    points: list[Placed] = field(default_factory=list)
    others: list[Placed] = field(default_factory=list)


def parse(documents: Sequence[bytes]) -> list[dict[str, Any]]:
    """JSON objects of rows."""
    # one call for many is quicker than one for each: most objects are small
    parsed: list[dict[str, Any]] = []
    for start in range(0, len(documents), CHUNK_DOCUMENTS):
        chunk = documents[start : start + CHUNK_DOCUMENTS]
        parsed += orjson.loads(b"[" + b",".join(chunk) + b"]")
    return parsed


def gather(documents: Sequence[dict[str, Any]], most: int) -> tuple[dict[str, Field], Field | None]:
    """Fields of rows by path, at most `most` of them, and the values of those beyond."""
    raw: dict[str, _Raw] = {}
    if documents:
        _descend(raw, "", 1, (range(len(documents)), documents))
    size = len(documents)
    kept = dict(islice(raw.items(), most))
    beyond = (_entries(path, found) for path, found in islice(raw.items(), most, None))
    return {path: _field(size, found) for path, found in kept.items()}, spilled(size, beyond)


def text_field(texts: Sequence[str]) -> Field:
    """A field of one text for each row."""
    codes, vocabulary = encode(texts)
    return Field(len(texts), vocabulary, lay(len(texts), np.arange(len(texts)), (codes,)))


def is_key(key: str, level: int) -> bool:
    """True for a key that a path can name: no dot, and no "$" at the start of a path."""
    return bool(key) and "." not in key and "\0" not in key and not (level == 1 and key[0] == "$")


def _descend(raw: dict[str, _Raw], prefix: str, level: int, placed: Placed) -> None:
    """Sorts the values of objects into `raw`; `level` is the number of keys of their paths."""
    if level > MAX_PATH_KEYS:
        return
    for key, (rows, values) in _by_key(*placed).items():
        path = prefix + key
        if not is_key(key, level) or len(path) > MAX_PATH_CHARACTERS:
            continue
        found = _Raw()
        objects = _sort(found, rows, values)
        if any(getattr(found, name) for name in vars(found)):
            raw[path] = found
        if objects[0]:
            _descend(raw, path + ".", level + 1, objects)


def _by_key(rows: Sequence[int], objects: Sequence[dict[str, Any]]) -> dict[str, Placed]:
    first = objects[0].keys()
    if all(document.keys() == first for document in objects):
        return {key: (rows, [document[key] for document in objects]) for key in first}
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for row, document in zip(rows, objects, strict=True):
        for key, value in document.items():
            column = columns.get(key)
            if column is None:
                columns[key] = column = ([], [])
            column[0].append(row)
            column[1].append(value)
    return dict(columns)


def _sort(found: _Raw, rows: Sequence[int], values: Sequence[Any]) -> Placed:
    """Sorts values by type; hands back the objects, whose own values have longer paths."""
    objects: Placed = ([], [])
    kinds = set(map(type, values))
    for kind in kinds:
        placed = (rows, values) if len(kinds) == 1 else _of_type(kind, rows, values)
        if kind is str:
            found.texts.append(placed)
        elif kind is int or kind is float:
            found.numbers.append(placed)
        elif kind is bool:
            found.booleans.append(placed)
        elif kind is list:
            found.others.append(placed)
            _sort_elements(found, placed)
        elif kind is dict:
            found.others.append(placed)
            found.points.append(_points(placed))
            objects = placed
    return objects


def _sort_elements(found: _Raw, placed: Placed) -> None:
    elements = [
        (row, element)
        for row, values in zip(*placed, strict=True)
        for element in values
        if type(element) is not list
    ]
    if not elements:
        return
    rows, values = zip(*elements, strict=True)
    inner = _Raw()
    _sort(inner, rows, values)
    for name in ("texts", "numbers", "booleans", "points"):
        getattr(found, name).extend(getattr(inner, name))


def _of_type(kind: type, rows: Sequence[int], values: Sequence[Any]) -> Placed:
    chosen = [i for i, value in enumerate(values) if type(value) is kind]
    return [rows[i] for i in chosen], [values[i] for i in chosen]


def _points(placed: Placed) -> Placed:
    found = [(row, geo.point(value)) for row, value in zip(*placed, strict=True)]
    points = [(row, place) for row, place in found if place is not None]
    return [row for row, _ in points], [place for _, place in points]


def _entries(path: str, raw: _Raw) -> Entries:
    placed: list[Placed] = [*raw.texts, *raw.numbers, *raw.booleans]
    placed += [(rows, [{}] * len(rows)) for rows, _ in raw.others]
    placed += [(rows, [{"lat": lat, "lon": lon} for lat, lon in at]) for rows, at in raw.points]
    rows = [row for run in placed for row in run[0]]
    return rows, [entry(path, value) for run in placed for value in run[1]]


def _field(size: int, raw: _Raw) -> Field:
    text_rows, texts = _flat(raw.texts)
    number_rows, values = _flat(raw.numbers)
    boolean_rows, booleans = _flat(raw.booleans)
    point_rows, points = _flat(raw.points)
    other_rows, others = _flat(raw.others)
    codes, vocabulary = encode(texts) if len(texts) else (np.empty(0, np.uint8), NO_TEXTS)
    truth = np.array(booleans, np.uint8) + np.uint8(FALSE_CODE)
    return Field(
        size,
        vocabulary,
        lay(size, text_rows, (codes,)),
        lay(size, number_rows, numbers.encode(values)),
        lay(size, boolean_rows, (truth,)),
        lay(size, point_rows, geo.encode(points)),
        lay(size, other_rows, (np.ones(len(others), np.uint8),)),
    )


def _flat(runs: list[Placed]) -> tuple[Any, Sequence[Any]]:
    if len(runs) == 1:
        rows, values = runs[0]
    else:
        rows = [row for run in runs for row in run[0]]
        values = [value for run in runs for value in run[1]]
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, dtype=np.int32), values
    return np.array(rows, np.int32), values
