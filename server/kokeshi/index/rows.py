"""Rows of the database and their checksums.

SQLite does not notice a flipped bit in a value; the CRC of each row does.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from kokeshi.index.store import CollectionSpec, Item, Vector


class DamagedRowError(Exception):
    """A row of the database is not what was written; its collection must not be served."""


@dataclass(frozen=True)
class NewRow:
    """An item on its way into the database; `crc` covers id, metadata and vector."""

    id: str
    metadata: bytes
    vector: bytes
    crc: int

    def sealed(self, collection: int, seq: int) -> int:
        """Checksum of the row as it is stored."""
        return _seal(self.crc, collection, seq)


@dataclass(frozen=True, eq=False)
class StoredRow:
    """A row of the database whose checksum was found right."""

    row: int
    seq: int
    id: str
    metadata: bytes
    vector: Vector

    def item(self, *, with_vector: bool) -> Item:
        """The item of this row."""
        vector = self.vector if with_vector else None
        return Item(self.id, vector, orjson.loads(self.metadata), self.seq)


def new_row(item_id: str, metadata: bytes, vector: Vector) -> NewRow:
    """A row for an item; `vector` is (dim,) float32."""
    blob = vector.astype("<f4", copy=False).tobytes()
    return NewRow(item_id, metadata, blob, _content_crc(item_id, metadata, blob))


def read_row(collection: int, values: Sequence[Any]) -> StoredRow:
    """A row from the columns row, seq, crc, id, metadata, vector.

    Raises:
        DamagedRowError: the checksum does not match.
    """
    row, seq, crc, item_id, metadata, blob = values
    if crc != _seal(_content_crc(item_id, metadata, blob), collection, seq):
        raise DamagedRowError(f"the checksum of row {row} does not match")
    vector = np.frombuffer(blob, dtype="<f4").astype(np.float32, copy=False)
    return StoredRow(row, seq, item_id, metadata, vector)


def digest(rows: Iterable[NewRow]) -> bytes:
    """Fingerprint of a batch, by which a retry is told from another request."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        for part in (row.id.encode(), row.metadata, row.vector):
            state.update(struct.pack("<q", len(part)))
            state.update(part)
    return state.digest()


def encode_spec(spec: CollectionSpec) -> tuple[bytes, int]:
    """A specification as JSON, and its checksum."""
    encoded = orjson.dumps(asdict(spec), option=orjson.OPT_SORT_KEYS)
    return encoded, zlib.crc32(encoded)


def decode_spec(encoded: bytes, crc: int) -> CollectionSpec:
    """The inverse of `encode_spec`.

    Raises:
        DamagedRowError: the checksum does not match.
    """
    if zlib.crc32(encoded) != crc:
        raise DamagedRowError("the checksum of its settings does not match")
    values = orjson.loads(encoded)
    return CollectionSpec(**{**values, "dimensions": tuple(values["dimensions"])})


def _content_crc(item_id: str, metadata: bytes, vector: bytes) -> int:
    # the length keeps an id from passing for the start of its metadata
    head = struct.pack("<q", len(metadata)) + item_id.encode()
    return zlib.crc32(vector, zlib.crc32(metadata, zlib.crc32(head)))


def _seal(content_crc: int, collection: int, seq: int) -> int:
    return zlib.crc32(struct.pack("<qq", collection, seq), content_crc)
