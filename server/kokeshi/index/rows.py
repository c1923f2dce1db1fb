"""Rows of the database and their checksums.

SQLite does not notice a flipped bit in a value; the CRC of each row does. A row has two of them:
one of its head (all but the vector), so that metadata can be read and trusted without vectors, and
one of its vector that runs on from the head's, so that a vector cannot pass for another row's.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from kokeshi.index.items import Item, Vector
from kokeshi.index.spec import CollectionSpec

# What a flipped bit in a row's own description of its columns leads to.
_OF_ANOTHER_TYPE: Final = (AttributeError, TypeError, struct.error)
# Columns of `read_head`, and of `read_row` after them.
HEAD_COLUMNS: Final = "i.row, i.collection, i.seq, i.crc, i.tenant, i.id, i.origin, i.metadata"
ROW_COLUMNS: Final = f"{HEAD_COLUMNS}, v.crc, v.vector"

_LENGTHS: Final = struct.Struct("<qq")
_PLACE: Final = struct.Struct("<qqq")
_LINK: Final = struct.Struct("<I")
_STATE: Final = struct.Struct("<qqqq")


class DamagedRowError(Exception):
    """A row of the database is not what was written; its collection must not be served."""


class RowHead(NamedTuple):
    """A row of the database without its vector, whose checksum was found right."""

    row: int
    seq: int
    tenant: str
    id: str
    origin: str
    metadata: bytes

    def item(self) -> Item:
        """The item of this row, without a vector."""
        return Item(self.id, None, orjson.loads(self.metadata), self.seq, self.origin)


class StoredRow(NamedTuple):
    """A row of the database whose checksums were found right; `vector` is (dim,) float32."""

    row: int
    seq: int
    tenant: str
    id: str
    origin: str
    metadata: bytes
    vector: Vector

    def item(self, *, with_vector: bool) -> Item:
        """The item of this row."""
        vector = self.vector if with_vector else None
        return Item(self.id, vector, orjson.loads(self.metadata), self.seq, self.origin)


def seal_head(content_crc: int, collection: int, row: int, seq: int, tenant: bytes) -> int:
    """Checksum of a head in its place in the database."""
    return zlib.crc32(_PLACE.pack(collection, row, seq) + tenant, content_crc)


def seal_vector(vector_crc: int, head_seal: int) -> int:
    """Checksum that ties a vector to its head."""
    return zlib.crc32(_LINK.pack(head_seal), vector_crc)


def seal_state(spec_crc: int, collection: int, seq: int, last_row: int, rows: int) -> int:
    """Checksum of a collection's counters."""
    return zlib.crc32(_STATE.pack(collection, seq, last_row, rows), spec_crc)


def read_head(values: Sequence[Any]) -> RowHead:
    """A head from `HEAD_COLUMNS`.

    Raises:
        DamagedRowError: the checksum does not match.
    """
    row, collection, seq, crc, tenant, item_id, origin, metadata = values
    try:
        content = crc_of_head(item_id, origin, metadata)
        sealed = seal_head(content, collection, row, seq, tenant.encode())
    except _OF_ANOTHER_TYPE as error:
        raise DamagedRowError(f"row {row} holds values of another type") from error
    if crc != sealed:
        raise DamagedRowError(f"the checksum of row {row} does not match")
    return RowHead(row, seq, tenant, item_id, origin, metadata)


def read_row(values: Sequence[Any]) -> StoredRow:
    """A row from `ROW_COLUMNS`.

    Raises:
        DamagedRowError: a checksum does not match, or the vector is missing.
    """
    *columns, vector_crc, blob = values
    head = read_head(columns)
    if not isinstance(blob, bytes):
        raise DamagedRowError(f"the vector of row {head.row} is missing")
    if vector_crc != seal_vector(zlib.crc32(blob), columns[3]):
        raise DamagedRowError(f"the checksum of the vector of row {head.row} does not match")
    vector = np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)
    return StoredRow(*head, vector)


def encode_spec(spec: CollectionSpec) -> bytes:
    """A specification as JSON."""
    return orjson.dumps(asdict(spec), option=orjson.OPT_SORT_KEYS)


def decode_spec(encoded: bytes, crc: int) -> CollectionSpec:
    """The inverse of `encode_spec`; `crc` is what `zlib.crc32` made of it.

    Raises:
        DamagedRowError: the checksum does not match.
    """
    if zlib.crc32(encoded) != crc:
        raise DamagedRowError("the checksum of its settings does not match")
    values = orjson.loads(encoded)
    return CollectionSpec(**{**values, "dimensions": tuple(values["dimensions"])})


def crc_of_head(item_id: str, origin: str, metadata: bytes) -> int:
    """Checksum of what an item says besides its vector."""
    # the lengths keep a part from passing for the start of the next one
    name, space = item_id.encode(), origin.encode()
    return zlib.crc32(metadata, zlib.crc32(_LENGTHS.pack(len(name), len(space)) + name + space))
