"""What is read of the database, over connections of its own: a long read never stops a write.

A walk over a collection reads a chunk at a time and holds no transaction between chunks, so that
the log can be folded into the database while it lasts. A row that is deleted meanwhile may be left
out; one that is written meanwhile is seen when it is newer than all that was seen before.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from kokeshi.errors import UnavailableError
from kokeshi.index.items import NO_TENANT
from kokeshi.index.rows import (
    HEAD_COLUMNS,
    ROW_COLUMNS,
    DamagedRowError,
    RowHead,
    StoredRow,
    decode_spec,
    read_head,
    read_row,
    seal_state,
)
from kokeshi.index.schema import open_reader
from kokeshi.index.spec import CollectionSpec

# A row number is its collection's number and a number in it: rows of a collection lie together, in
# the order in which they were written, and need no further index for that.
ROW_BITS: Final = 40
CHECKED_ROWS: Final = 4096  # at a time
# The plus keeps SQLite from seeking: every page is walked, and what a seek would find is compared.
_LOST: Final = """
SELECT count(*) FROM items AS item NOT INDEXED
WHERE +row > ?1 AND +row < ?2 AND NOT (
    EXISTS (SELECT 1 FROM items AS same WHERE same.row = item.row)
    AND EXISTS (SELECT 1 FROM vectors AS held WHERE held.row = item.row)
    AND EXISTS (
        SELECT 1 FROM items AS named INDEXED BY items_by_id
        WHERE named.collection = ?3 AND named.tenant = item.tenant AND named.id = item.id))
"""
_ALL: Final = "SELECT count(*) FROM items NOT INDEXED WHERE +row > ?1 AND +row < ?2"
_TENANTS: Final = """
SELECT tenant, count(*) FROM items NOT INDEXED
WHERE +row > ?1 AND +row < ?2 AND tenant <> '' GROUP BY tenant ORDER BY tenant
"""
_LISTED_TENANTS: Final = """
SELECT tenant, count(*) FROM items INDEXED BY items_by_tenant
WHERE collection = ?1 AND tenant <> '' GROUP BY tenant ORDER BY tenant
"""

_HEADS: Final = f"SELECT {HEAD_COLUMNS} FROM items i"
_ROWS: Final = f"SELECT {ROW_COLUMNS} FROM items i LEFT JOIN vectors v USING (row)"
_BY_IDS: Final = (
    " WHERE i.collection = ? AND i.tenant = ? AND i.id IN (SELECT value FROM json_each(?))"
)
# the plus keeps SQLite from walking the whole collection by an index
_BY_ROWS: Final = " WHERE i.row IN (SELECT value FROM json_each(?)) AND +i.collection = ?"
_IN_ORDER: Final = " ORDER BY i.row LIMIT ?"
_Row = TypeVar("_Row", RowHead, StoredRow)

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoredCollection:
    """A collection as the database has it.

    Attributes:
        spec: JSON.
        crc: checksum of `spec`.
        seq: the last write.
        last_row: the last row number that was given.
        rows: how many live.
        state_crc: checksum of the others.
    """

    number: int
    name: str
    spec: bytes
    crc: int
    seq: int
    last_row: int
    rows: int
    state_crc: int

    def read_spec(self) -> CollectionSpec:
        """What the collection holds.

        Raises:
            DamagedRowError: a checksum does not match.
        """
        spec = decode_spec(self.spec, self.crc)
        if spec.name != self.name:
            raise DamagedRowError("its name does not match its settings")
        if self.state_crc != seal_state(self.crc, self.number, self.seq, self.last_row, self.rows):
            raise DamagedRowError("the checksum of its counters does not match")
        return spec


class Reads:
    """The reading half of the truth."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def close(self) -> None:
        """Closes the connections that nobody has borrowed."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        """Borrows a connection that only reads.

        Raises:
            DamagedRowError: SQLite finds its file malformed.
            UnavailableError: the disk failed.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = open_reader(self._directory)
        try:
            yield connection
        except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
            raise DamagedRowError("the database is malformed") from error
        except apsw.IOError as error:
            raise UnavailableError("the disk failed a read") from error
        finally:
            self._idle.put(connection)

    def collections(self) -> list[StoredCollection]:
        """All collections, by name.

        Raises:
            DamagedRowError: the database is malformed.
        """
        with self.reading() as connection:
            return collections_in(connection)

    def by_ids(
        self, collection: int, ids: Sequence[str], *, tenant: str = NO_TENANT
    ) -> dict[str, StoredRow]:
        """Rows by item id; unknown ids are left out."""
        found = self._select(_ROWS + _BY_IDS, (collection, tenant, json_of(ids)), read_row)
        return {row.id: row for row in found}

    def heads_by_ids(
        self, collection: int, ids: Sequence[str], *, tenant: str = NO_TENANT
    ) -> dict[str, RowHead]:
        """See `by_ids`; no vector is read."""
        found = self._select(_HEADS + _BY_IDS, (collection, tenant, json_of(ids)), read_head)
        return {row.id: row for row in found}

    def by_rows(self, collection: int, rows: Ids) -> dict[int, StoredRow]:
        """Rows by number; those that are gone, or another collection's, are left out."""
        found = self._select(_ROWS + _BY_ROWS, (json_of(rows.tolist()), collection), read_row)
        return {row.row: row for row in found}

    def heads_by_rows(self, collection: int, rows: Ids) -> dict[int, RowHead]:
        """See `by_rows`; no vector is read."""
        found = self._select(_HEADS + _BY_ROWS, (json_of(rows.tolist()), collection), read_head)
        return {row.row: row for row in found}

    def page(
        self, collection: int, after: tuple[int, int], limit: int, *, tenant: str = NO_TENANT
    ) -> list[StoredRow]:
        """Rows of a tenant after a (seq, row), in the order in which they were written."""
        values = _span(collection, after, tenant, limit)
        return self._select(_ROWS + _page(tenant), values, read_row)

    def page_heads(
        self, collection: int, after: tuple[int, int], limit: int, *, tenant: str = NO_TENANT
    ) -> list[RowHead]:
        """See `page`; no vector is read."""
        values = _span(collection, after, tenant, limit)
        return self._select(_HEADS + _page(tenant), values, read_head)

    def newer(self, collection: int, seq: int, chunk_rows: int) -> Iterator[list[StoredRow]]:
        """Rows of every tenant that later writes made, in order, a chunk at a time.

        Raises:
            DamagedRowError: a checksum does not match.
        """
        return self._walk(_ROWS, collection, self.last_up_to(collection, seq), chunk_rows, read_row)

    def row_numbers(self, collection: int, first: int, last: int) -> Ids:
        """Numbers of the rows that live, ascending, of those from one number to another."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT row FROM items WHERE row BETWEEN ? AND ? AND +collection = ? ORDER BY row",
                (first, last, collection),
            ).fetchall()
        return np.asarray(rows, dtype=np.int64).reshape(-1)

    def census(self, first: int, last: int) -> tuple[int, int]:
        """Rows that live, of those from one number to another: how many, and their numbers' sum.

        Numbers count from `first`. The two are quicker to compare than all numbers are to read.
        """
        with self.reading() as connection:
            found: tuple[int, int] = connection.execute(
                "SELECT count(*), ifnull(sum(row - ?1), 0) FROM items WHERE row BETWEEN ?1 AND ?2",
                (first, last),
            ).fetchone()
        return found

    def check_reach(self, collection: int) -> None:
        """Refuses a collection with a row that reads would leave out, by number, id or tenant.

        Raises:
            DamagedRowError: there is one, a checksum does not match, or pages cannot be read.
        """
        span = row_span(collection)
        walk = self._walk(_HEADS, collection, span[0], CHECKED_ROWS, read_head)
        seen = sum(len(chunk) for chunk in walk)
        with self.reading() as connection:
            is_lost = connection.execute(_LOST, (*span, collection)).get
            there_are = connection.execute(_ALL, span).get
            listed = connection.execute(_LISTED_TENANTS, (collection,)).fetchall()
            there = connection.execute(_TENANTS, span).fetchall()
        if is_lost or seen != there_are or listed != there:
            raise DamagedRowError("the database holds rows that cannot be reached")

    def last_up_to(self, collection: int, seq: int) -> int:
        """The last row that a write up to `seq` made, or a number between it and the next one.

        Rows of a collection ascend with the writes that made them, so that halving finds it; each
        row that decides is checked.
        """
        low, high = row_span(collection)
        statement = f"{_HEADS} WHERE i.row > ? AND i.row < ? ORDER BY i.row LIMIT 1"
        while high - low > 1:
            middle = (low + high - 1) // 2
            found = self._select(statement, (middle, high), read_head)
            if found and found[0].seq <= seq:
                low = found[0].row
            else:
                high = middle + 1
        return low

    def _walk(
        self,
        select: str,
        collection: int,
        after: int,
        chunk_rows: int,
        read: Callable[[Sequence[Any]], _Row],
    ) -> Iterator[list[_Row]]:
        start, end = row_span(collection)
        after = max(after, start)
        statement = f"{select} WHERE i.row > ? AND i.row < ?{_IN_ORDER}"
        while chunk := self._select(statement, (after, end, chunk_rows), read):
            yield chunk
            after = chunk[-1].row

    def _select(
        self, statement: str, values: tuple[Any, ...], read: Callable[[Sequence[Any]], _Row]
    ) -> list[_Row]:
        with self.reading() as connection:
            return [read(found) for found in connection.execute(statement, values).fetchall()]


def collections_in(connection: Any) -> list[StoredCollection]:  # noqa: ANN401 - apsw is untyped
    """All collections of a database, by name."""
    rows = connection.execute(
        "SELECT collection, name, spec, crc, seq, last_row, rows, state_crc"
        " FROM collections ORDER BY name"
    )
    return [StoredCollection(*row) for row in rows]


def row_span(collection: int) -> tuple[int, int]:
    """Numbers between which, both left out, the rows of a collection lie."""
    return collection << ROW_BITS, (collection + 1) << ROW_BITS


def json_of(values: Sequence[Any]) -> str:
    """Values as SQLite's json_each takes them."""
    return orjson.dumps(values).decode()


def _page(tenant: str) -> str:
    if tenant == NO_TENANT:  # not in the index by tenant; the plus keeps SQLite from a sort
        return " WHERE +i.collection = ? AND i.row > ? AND i.row < ? AND +i.tenant = ?" + _IN_ORDER
    own = " WHERE i.collection = ? AND i.row > ? AND i.row < ? AND i.tenant <> '' AND i.tenant = ?"
    return own + _IN_ORDER


def _span(
    collection: int, after: tuple[int, int], tenant: str, limit: int
) -> tuple[int, int, int, str, int]:
    start, end = row_span(collection)
    return collection, max(after[1], start), end, tenant, limit
