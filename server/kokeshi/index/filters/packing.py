"""Tables as bytes: a JSON directory, then the arrays as they lie in memory.

8 bytes   MAGIC, whose last byte is the version
8 bytes   length of the directory, little-endian
...       directory: {"size", "fields": {path: {name: ...}}}, arrays by number
...       arrays, each at a multiple of 64 bytes, so that a mapped file gives aligned views
"""

import struct
import sys
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.index.filters.cells import Array, Cells
from kokeshi.index.filters.field import KINDS, Field
from kokeshi.index.filters.table import Table
from kokeshi.index.filters.vocabulary import Vocabulary

MAGIC: Final = b"kokcols\x01" if sys.byteorder == "little" else b"KOKCOLS\x01"
ALIGNMENT: Final = 64
_HEAD: Final = struct.Struct("<8sQ")


@dataclass
class _Writer:
    """Arrays so far, and where each begins."""

    chunks: list[bytes] = field(default_factory=list)
    directory: list[tuple[int, int, str]] = field(default_factory=list)
    size: int = 0

    def put(self, array: Array) -> int:
        """Number of an array that is written now."""
        data = array.tobytes()
        padded = data + bytes(-len(data) % ALIGNMENT)
        self.directory.append((self.size, len(array), array.dtype.str))
        self.chunks.append(padded)
        self.size += len(padded)
        return len(self.directory) - 1


def pack(table: Table) -> bytes:
    """A table as bytes."""
    writer = _Writer()
    fields = {path: _described(writer, column) for path, column in table.fields.items()}
    directory = orjson.dumps({"size": table.size, "fields": fields, "arrays": writer.directory})
    head = _HEAD.pack(MAGIC, len(directory)) + directory
    return b"".join([head, bytes(-len(head) % ALIGNMENT), *writer.chunks])


def unpack(data: bytes | memoryview) -> Table:
    """The inverse of `pack`; the arrays are views of `data`.

    Raises:
        ValueError: these are no columns, or of another version.
    """
    try:
        magic, length = _HEAD.unpack_from(data)
    except struct.error as error:
        raise ValueError("these are no columns: too short") from error
    if magic != MAGIC:
        raise ValueError(f"these are no columns of this version: they begin with {magic!r}")
    if _HEAD.size + length > len(data):
        raise ValueError("these are no columns: cut short")
    try:
        directory = orjson.loads(memoryview(data)[_HEAD.size : _HEAD.size + length])
        start = -(-(_HEAD.size + length) // ALIGNMENT) * ALIGNMENT
        arrays = [
            np.frombuffer(data, np.dtype(kind), count, start + at)
            for at, count, kind in directory["arrays"]
        ]
        size = directory["size"]
        fields = {
            path: _restored(arrays, size, column) for path, column in directory["fields"].items()
        }
    except (KeyError, TypeError, IndexError, orjson.JSONDecodeError) as error:
        raise ValueError("these are no columns: the directory is not understood") from error
    return Table(size, fields)


def _described(writer: _Writer, column: Field) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if len(column.vocabulary):
        texts = column.vocabulary
        described["vocabulary"] = [writer.put(texts.blob), writer.put(texts.ends)]
    for kind in KINDS:
        cells: Cells | None = getattr(column, kind)
        if cells is not None:
            rows = None if cells.rows is None else writer.put(cells.rows)
            described[kind] = [rows, [writer.put(array) for array in cells.data]]
    return described


def _restored(arrays: list[Array], size: int, described: dict[str, Any]) -> Field:
    columns: dict[str, Any] = {
        kind: Cells(size, None if rows is None else arrays[rows], tuple(arrays[i] for i in data))
        for kind, (rows, data) in described.items()
        if kind != "vocabulary"
    }
    if "vocabulary" not in described:
        return Field(size, **columns)
    blob, ends = described["vocabulary"]
    return Field(size, Vocabulary(arrays[blob], arrays[ends]), **columns)
