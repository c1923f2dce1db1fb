"""The single source of truth: vectors and metadata in SQLite.

Reads borrow a connection each; every write happens in the one thread of `kokeshi.index.writer`,
inside the transaction that it opened. Acknowledged means committed.
"""

import contextlib
import itertools
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    InvalidRequestError,
    UnavailableError,
)
from kokeshi.index.rows import DamagedRowError, NewRow, StoredRow, encode_spec, read_row
from kokeshi.index.schema import open_database, open_reader
from kokeshi.index.store import CollectionSpec

_COLUMNS: Final = "row, seq, crc, id, metadata, vector"

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Written:
    """What a write did: `rows` are the new row numbers, `removed` those that are gone."""

    seq: int
    count: int
    rows: Ids
    removed: Ids
    is_replay: bool = False


@dataclass(frozen=True)
class StoredCollection:
    """A collection as the database has it; `spec` is JSON and `crc` its checksum."""

    number: int
    name: str
    spec: bytes
    crc: int
    seq: int


class Truth:
    """The database of one data directory. The directory must be locked by the caller."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.writing = open_database(directory)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        last = self.writing.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'items'").get
        self._last_row: int = last or 0

    def close(self) -> None:
        """Closes every connection; the last one folds the log into the database."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        self.writing.close()

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
        except (apsw.CorruptError, apsw.NotADBError) as error:
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
            rows = connection.execute(
                "SELECT collection, name, spec, crc, seq FROM collections ORDER BY name"
            )
            return [StoredCollection(*row) for row in rows]

    def by_ids(self, collection: int, ids: Sequence[str]) -> dict[str, StoredRow]:
        """Rows by item id; unknown ids are left out."""
        found = self._select(
            collection,
            "collection = ? AND id IN (SELECT value FROM json_each(?))",
            (collection, _json(ids)),
        )
        return {row.id: row for row in found}

    def by_rows(self, collection: int, rows: Ids) -> dict[int, StoredRow]:
        """Rows by number; those that are gone are left out."""
        found = self._select(
            collection,
            # the plus keeps SQLite from walking the whole collection by an index
            "row IN (SELECT value FROM json_each(?)) AND +collection = ?",
            (_json(rows.tolist()), collection),
        )
        return {row.row: row for row in found}

    def page(self, collection: int, after: tuple[int, int], limit: int) -> list[StoredRow]:
        """Rows after a (seq, row), in the order in which they were written."""
        return self._select(
            collection,
            "collection = ? AND (seq, row) > (?, ?) ORDER BY seq, row LIMIT ?",
            (collection, *after, limit),
        )

    def newer(self, collection: int, seq: int, chunk_rows: int) -> Iterator[list[StoredRow]]:
        """Rows that later writes made, in order, a chunk at a time.

        Raises:
            DamagedRowError: a checksum does not match.
        """
        with self.reading() as connection:
            cursor = connection.execute(
                f"SELECT {_COLUMNS} FROM items WHERE collection = ? AND seq > ? ORDER BY seq, row",
                (collection, seq),
            )
            try:
                while chunk := list(itertools.islice(cursor, chunk_rows)):
                    yield [read_row(collection, values) for values in chunk]
            finally:
                cursor.close(True)  # a cursor left open would hold back checkpoints

    def row_numbers(self, collection: int, upto_seq: int) -> Ids:
        """Numbers of the rows that live and were made by writes up to `upto_seq`, ascending."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT row FROM items WHERE collection = ? AND seq <= ? ORDER BY seq, row",
                (collection, upto_seq),
            ).fetchall()
        return np.asarray(rows, dtype=np.int64).reshape(-1)

    def create(self, spec: CollectionSpec) -> int:
        """Inserts a collection, returns its number. Writer thread only."""
        encoded, crc = encode_spec(spec)
        taken = self.writing.execute("SELECT 1 FROM collections WHERE name = ?", (spec.name,)).get
        if taken:
            raise AlreadyExistsError(f"collection {spec.name!r} exists")
        self.writing.execute(
            "INSERT INTO collections (name, spec, crc, seq) VALUES (?, ?, ?, 0)",
            (spec.name, encoded, crc),
        )
        return self.writing.last_insert_rowid()

    def drop(self, collection: int) -> None:
        """Deletes a collection and its rows. Writer thread only."""
        for table in ("items", "requests", "collections"):
            self.writing.execute(f"DELETE FROM {table} WHERE collection = ?", (collection,))

    def replayed(self, collection: int, request_id: str, digest: bytes) -> Written | None:
        """The first outcome of a request that comes again. Writer thread only.

        Raises:
            InvalidRequestError: the request id came with other items before.
        """
        known = self.writing.execute(
            "SELECT digest, seq, rows FROM requests WHERE collection = ? AND request_id = ?",
            (collection, request_id),
        ).fetchone()
        if known is None:
            return None
        if known[0] != digest:
            raise InvalidRequestError(f"request id {request_id!r} was used with other items")
        nothing = np.empty(0, np.int64)
        return Written(known[1], known[2], nothing, nothing, is_replay=True)

    def remember(
        self, collection: int, request_id: str, digest: bytes, written: Written, kept: int
    ) -> None:
        """Notes the outcome of a request, forgets old ones. Writer thread only."""
        self.writing.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
            (collection, request_id, digest, written.seq, written.count),
        )
        self.writing.execute(
            "DELETE FROM requests WHERE collection = ? AND seq <= ?",
            (collection, written.seq - kept),
        )

    def upsert(self, collection: int, rows: Sequence[NewRow], *, add_only: bool) -> Written:
        """Writes rows in the place of those with their ids. Writer thread only.

        Raises:
            AlreadyExistsError: `add_only`, and an id exists.
        """
        old = self._live(collection, [row.id for row in rows])
        if old and add_only:
            raise AlreadyExistsError(f"item {old[0][1]!r} exists")
        seq = self._next_seq(collection)
        removed = self._remove(old)
        numbers = np.arange(len(rows), dtype=np.int64) + self._last_row + 1
        self._last_row += len(rows)
        self.writing.executemany(
            f"INSERT INTO items (collection, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (collection, number, seq, row.sealed(collection, seq), *_content(row))
                for number, row in zip(numbers.tolist(), rows, strict=True)
            ],
        )
        return Written(seq, len(rows), numbers, removed)

    def delete(self, collection: int, ids: Sequence[str]) -> Written:
        """Deletes rows by item id. Writer thread only."""
        old = self._live(collection, ids)
        seq = self._next_seq(collection)
        return Written(seq, len(old), np.empty(0, np.int64), self._remove(old))

    def _select(self, collection: int, where: str, values: tuple[Any, ...]) -> list[StoredRow]:
        with self.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM items WHERE {where}", values)
            return [read_row(collection, found) for found in rows]

    def _live(self, collection: int, ids: Sequence[str]) -> list[tuple[int, str]]:
        return self.writing.execute(
            "SELECT row, id FROM items WHERE collection = ?"
            " AND id IN (SELECT value FROM json_each(?))",
            (collection, _json(ids)),
        ).fetchall()

    def _remove(self, old: Sequence[tuple[int, str]]) -> Ids:
        rows = sorted(row for row, _ in old)
        self.writing.executemany("DELETE FROM items WHERE row = ?", [(row,) for row in rows])
        return np.asarray(rows, dtype=np.int64)

    def _next_seq(self, collection: int) -> int:
        seq = self.writing.execute(
            "UPDATE collections SET seq = seq + 1 WHERE collection = ? RETURNING seq",
            (collection,),
        ).get
        if seq is None:
            raise CollectionNotFoundError("the collection was dropped")
        return int(seq)


def _json(values: Sequence[Any]) -> str:
    return orjson.dumps(values).decode()


def _content(row: NewRow) -> tuple[str, bytes, bytes]:
    return row.id, row.metadata, row.vector
