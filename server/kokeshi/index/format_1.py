"""Format 1 of the database: vectors beside metadata, no tenants, one number line for all rows."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from kokeshi.index.reads import ROW_BITS
from kokeshi.index.rows import crc_of_head, seal_head, seal_state, seal_vector

_ITEMS: Final = (
    "SELECT row, seq, crc, id, metadata, vector FROM items WHERE collection = ? ORDER BY seq, row"
)
_DAMAGE: Final = 1  # flips a seal


def copy(old: Any, new: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Copies all of an old database into the tables of today's."""
    last = _last(old, "items")
    for number, name, spec, crc, seq in old.execute(
        "SELECT collection, name, spec, crc, seq FROM collections"
    ):
        rows = _copy_rows(old, new, number)
        last_row = (number << ROW_BITS) + last
        state = seal_state(crc, number, seq, last_row, rows)
        new.execute(
            "INSERT INTO collections (collection, name, spec, crc, seq, last_row, rows, state_crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, name, spec, crc, seq, last_row, rows, state),
        )
    new.executemany(
        "INSERT INTO requests (collection, request_id, digest, seq, rows) VALUES (?, ?, ?, ?, ?)",
        old.execute("SELECT collection, request_id, digest, seq, rows FROM requests"),
    )
    # numbers of collections that were dropped must not come back either
    new.execute("DELETE FROM sqlite_sequence WHERE name = 'collections'")
    new.execute(
        "INSERT INTO sqlite_sequence VALUES ('collections', ?)", (_last(old, "collections"),)
    )


def _last(old: Any, table: str) -> int:  # noqa: ANN401 - apsw is untyped
    return old.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,)).get or 0


def _copy_rows(old: Any, new: Any, number: int) -> int:  # noqa: ANN401 - apsw is untyped
    before = new.total_changes()
    for head, vector in _rows(old, number):
        new.execute(
            "INSERT INTO items (row, collection, seq, crc, id, metadata) VALUES (?, ?, ?, ?, ?, ?)",
            head,
        )
        new.execute("INSERT INTO vectors (row, crc, vector) VALUES (?, ?, ?)", vector)
    return int(new.total_changes() - before) // 2


def _rows(old: Any, number: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:  # noqa: ANN401 - apsw is untyped
    """Heads and vectors as they are inserted."""
    for old_row, seq, crc, item_id, metadata, vector in old.execute(_ITEMS, (number,)):
        row = (number << ROW_BITS) + old_row
        head = seal_head(crc_of_head(item_id, "", metadata), number, row, seq, b"")
        if crc != _seal(number, seq, item_id, metadata, vector):
            head ^= _DAMAGE  # a row that was damaged must not become whole
        yield (
            (row, number, seq, head, item_id, metadata),
            (row, seal_vector(zlib.crc32(vector), head), vector),
        )


def _seal(number: int, seq: int, item_id: str, metadata: bytes, vector: bytes) -> int:
    head = struct.pack("<q", len(metadata)) + item_id.encode()
    content = zlib.crc32(vector, zlib.crc32(metadata, zlib.crc32(head)))
    return zlib.crc32(struct.pack("<qq", number, seq), content)
