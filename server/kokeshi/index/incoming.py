"""Rows on their way into the database: made by the caller's thread, inserted by the writer's."""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

import numpy as np

from kokeshi.index.items import Vector
from kokeshi.index.rows import crc_of_head, seal_head, seal_vector

# For each row: one statement for many rows, tried, is half a microsecond a row quicker where ids
# ascend, and a whole one slower where they do not, by the journal that could undo a part of it.
_INSERT_ITEM: Final = (
    "INSERT INTO items (row, collection, seq, crc, tenant, id, origin, metadata)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_VECTOR: Final = "INSERT INTO vectors (row, crc, vector) VALUES (?, ?, ?)"


@dataclass(frozen=True, eq=False)
class NewRows:
    """Items of a batch, at least one.

    Attributes:
        ids: of the items.
        metadata: as JSON.
        origins: as `Item` has them.
        vectors: float32, little-endian, views of what was given.
        head_crcs: cover id, origin and metadata.
        vector_crcs: cover the vectors.
    """

    ids: Sequence[str]
    metadata: Sequence[bytes]
    origins: Sequence[str]
    vectors: Sequence[memoryview]
    head_crcs: Sequence[int]
    vector_crcs: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)


def new_rows(
    ids: Sequence[str], metadata: Sequence[bytes], origins: Sequence[str], vectors: Vector
) -> NewRows:
    """Rows for items; `vectors` is (n, dim) float32, `origins` as `Item` has them.

    The rows share the memory of `vectors`, which must stay as it is until they are written: a copy
    of a batch costs as much as its checksums and its inserts together, in fresh pages of memory.
    """
    whole = np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data
    size = len(whole) // len(ids)
    blobs = [whole[start : start + size] for start in range(0, len(whole), size)]
    head_crcs = list(map(crc_of_head, ids, origins, metadata))
    return NewRows(ids, metadata, origins, blobs, head_crcs, list(map(zlib.crc32, blobs)))


def insert(
    connection: Any,  # noqa: ANN401 - apsw is untyped
    rows: NewRows,
    *,
    collection: int,
    seq: int,
    first: int,
    tenant: str,
) -> None:
    """Inserts rows, numbered from `first` on."""
    # whole columns at a time: this is the thread that every write waits for
    tag, numbers = tenant.encode(), range(first, first + len(rows))
    seals = [
        seal_head(crc, collection, number, seq, tag)
        for number, crc in zip(numbers, rows.head_crcs, strict=True)
    ]
    place, owner = (repeat(collection), repeat(seq)), repeat(tenant)
    said = (rows.ids, rows.origins, rows.metadata)
    connection.executemany(_INSERT_ITEM, zip(numbers, *place, seals, owner, *said, strict=False))
    links = map(seal_vector, rows.vector_crcs, seals)
    connection.executemany(_INSERT_VECTOR, zip(numbers, links, rows.vectors, strict=False))


def digest(rows: NewRows) -> bytes:
    """Fingerprint of a batch, by which a retry is told from another request."""
    each = zip(map(str.encode, rows.ids), rows.metadata, rows.vectors, strict=True)
    parts: list[bytes | memoryview] = list(chain.from_iterable(each))
    if any(rows.origins):  # left out otherwise: older databases hold such digests
        parts += map(str.encode, rows.origins)
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(struct.pack("<q", len(part)))
        state.update(part)
    return state.digest()
