"""The single source of truth: vectors and metadata in SQLite.

Reads borrow a connection each; every write happens in the one thread of `kokeshi.index.writer`,
inside the transaction that it opened. Acknowledged means committed.
"""

import contextlib
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    InvalidRequestError,
)
from kokeshi.index.incoming import NewRows, insert
from kokeshi.index.items import NO_TENANT
from kokeshi.index.migration import STEPS, discard_old, migrate
from kokeshi.index.reads import ROW_BITS, Ids, Reads, StoredCollection, json_of, row_span
from kokeshi.index.rows import DamagedRowError, encode_spec, seal_state
from kokeshi.index.schema import (
    CHECK_BYTES,
    DATABASE,
    damage_of,
    mended,
    open_database,
    version_of,
)
from kokeshi.index.spec import CollectionSpec

__all__ = ["Ids", "StoredCollection", "Truth", "Written"]

logger = logging.getLogger(__name__)

_MAX_COLLECTIONS: Final = 2 ** (63 - ROW_BITS) - 1


@dataclass(frozen=True, eq=False)
class Written:
    """What a write did: `rows` are the new row numbers, `removed` those that are gone."""

    seq: int
    count: int
    rows: Ids
    removed: Ids
    is_replay: bool = False


@dataclass(frozen=True)
class _Counters:
    """State of a collection inside the transaction that changes it."""

    crc: int
    seq: int
    last_row: int
    rows: int


class Truth(Reads):
    """The database of one data directory. The directory must be locked by the caller.

    Args:
        directory: of the database; an older format is brought to today's.
        check_bytes: databases up to this size are checked page by page as they are opened.

    Attributes:
        writing: the connection that writes.
        is_doubtful: pages were found damaged, mended or not: rows are to be looked at one by one.
        refusal: why nothing may be written; None: it may. Of a database whose pages are damaged
            what can be read is served, but a write could take a page that is in use.

    Raises:
        SetupError: see `open_database`.
    """

    def __init__(self, directory: Path, *, check_bytes: int = CHECK_BYTES) -> None:
        super().__init__(directory)
        version = version_of(directory / DATABASE)
        is_old = version in STEPS
        if version in STEPS:
            migrate(directory, version)
        self.writing = open_database(directory)
        self.refusal: str | None = None
        self.is_doubtful = damage_of(self.writing, directory, check_bytes) is not None
        damage = mended(self.writing) if self.is_doubtful else None
        if damage:
            logger.error("the database is malformed and can only be read: %s", damage)
            self.refusal = "writes are refused: the database is malformed; restore a backup"
        elif not is_old:
            self._settle()

    def close(self) -> None:
        """Closes every connection; the last one folds the log into the database."""
        super().close()
        self.writing.close()

    def _settle(self) -> None:
        """Removes what a migration kept, once the database has opened and can be read."""
        with contextlib.suppress(DamagedRowError):
            for stored in self.collections():
                stored.read_spec()
            discard_old(self._directory)

    def create(self, spec: CollectionSpec) -> int:
        """Inserts a collection, returns its number. Writer thread only."""
        taken = self.writing.execute("SELECT 1 FROM collections WHERE name = ?", (spec.name,)).get
        if taken:
            raise AlreadyExistsError(f"collection {spec.name!r} exists")
        encoded = encode_spec(spec)
        self.writing.execute(
            "INSERT INTO collections (name, spec, crc, seq, last_row, rows, state_crc)"
            " VALUES (?, ?, ?, 0, 0, 0, 0)",
            (spec.name, encoded, zlib.crc32(encoded)),
        )
        number: int = self.writing.last_insert_rowid()
        if number > _MAX_COLLECTIONS:
            raise InvalidRequestError(f"no more than {_MAX_COLLECTIONS} collections can be made")
        self._store(number, _Counters(zlib.crc32(encoded), 0, number << ROW_BITS, 0))
        return number

    def drop(self, collection: int) -> None:
        """Deletes a collection and its rows. Writer thread only."""
        for table in ("items", "vectors"):
            self.writing.execute(
                f"DELETE FROM {table} WHERE row > ? AND row < ?", row_span(collection)
            )
        for table in ("requests", "collections"):
            self.writing.execute(f"DELETE FROM {table} WHERE collection = ?", (collection,))

    def replayed(
        self, collection: int, request_id: str, digest: bytes, *, tenant: str = NO_TENANT
    ) -> Written | None:
        """The first outcome of a request that comes again. Writer thread only.

        Raises:
            InvalidRequestError: the request id came with other items before.
        """
        known = self.writing.execute(
            "SELECT digest, seq, rows FROM requests"
            " WHERE collection = ? AND tenant = ? AND request_id = ?",
            (collection, tenant, request_id),
        ).fetchone()
        if known is None:
            return None
        if known[0] != digest:
            raise InvalidRequestError(f"request id {request_id!r} was used with other items")
        nothing = np.empty(0, np.int64)
        return Written(known[1], known[2], nothing, nothing, is_replay=True)

    def remember(
        self,
        collection: int,
        request_id: str,
        digest: bytes,
        written: Written,
        kept: int,
        *,
        tenant: str = NO_TENANT,
    ) -> None:
        """Notes the outcome of a request, forgets old ones. Writer thread only."""
        self.writing.execute(
            "INSERT INTO requests (collection, tenant, request_id, digest, seq, rows)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (collection, tenant, request_id, digest, written.seq, written.count),
        )
        self.writing.execute(
            "DELETE FROM requests WHERE collection = ? AND seq <= ?",
            (collection, written.seq - kept),
        )

    def upsert(
        self,
        collection: int,
        rows: NewRows,
        *,
        add_only: bool,
        tenant: str = NO_TENANT,
    ) -> Written:
        """Writes rows in the place of a tenant's with their ids. Writer thread only.

        Raises:
            AlreadyExistsError: `add_only`, and an id exists.
            CollectionNotFoundError: the collection was dropped.
        """
        old = self._live(collection, tenant, rows.ids)
        if old and add_only:
            raise AlreadyExistsError(f"item {old[0][1]!r} exists")
        state = self._counters(collection)
        seq, first = state.seq + 1, state.last_row + 1
        removed = self._remove([row for row, _ in old])
        insert(self.writing, rows, collection=collection, seq=seq, first=first, tenant=tenant)
        last, live = state.last_row + len(rows), state.rows + len(rows) - len(removed)
        self._store(collection, _Counters(state.crc, seq, last, live))
        numbers = np.arange(first, last + 1, dtype=np.int64)
        return Written(seq, len(rows), numbers, removed)

    def delete(self, collection: int, ids: Sequence[str], *, tenant: str = NO_TENANT) -> Written:
        """Deletes a tenant's rows by item id. Writer thread only."""
        return self._delete(collection, [row for row, _ in self._live(collection, tenant, ids)])

    def delete_rows(self, collection: int, rows: Ids) -> Written:
        """Deletes rows by number; those that are gone do not count. Writer thread only."""
        found = self.writing.execute(
            "SELECT row FROM items"
            " WHERE row IN (SELECT value FROM json_each(?)) AND +collection = ?",
            (json_of(rows.tolist()), collection),
        ).fetchall()
        return self._delete(collection, [row for (row,) in found])

    def _delete(self, collection: int, rows: Sequence[int]) -> Written:
        state = self._counters(collection)
        removed = self._remove(rows)
        left = state.rows - len(removed)
        self._store(collection, _Counters(state.crc, state.seq + 1, state.last_row, left))
        return Written(state.seq + 1, len(removed), np.empty(0, np.int64), removed)

    def _live(self, collection: int, tenant: str, ids: Sequence[str]) -> list[tuple[int, str]]:
        return self.writing.execute(
            "SELECT row, id FROM items WHERE collection = ? AND tenant = ?"
            " AND id IN (SELECT value FROM json_each(?))",
            (collection, tenant, json_of(ids)),
        ).fetchall()

    def _remove(self, rows: Sequence[int]) -> Ids:
        gone = sorted(rows)
        for table in ("items", "vectors"):
            self.writing.executemany(f"DELETE FROM {table} WHERE row = ?", [(row,) for row in gone])
        return np.asarray(gone, dtype=np.int64)

    def _counters(self, collection: int) -> _Counters:
        found = self.writing.execute(
            "SELECT crc, seq, last_row, rows FROM collections WHERE collection = ?", (collection,)
        ).fetchone()
        if found is None:
            raise CollectionNotFoundError("the collection was dropped")
        return _Counters(*found)

    def _store(self, collection: int, new: _Counters) -> None:
        crc = seal_state(new.crc, collection, new.seq, new.last_row, new.rows)
        self.writing.execute(
            "UPDATE collections SET seq = ?, last_row = ?, rows = ?, state_crc = ?"
            " WHERE collection = ?",
            (new.seq, new.last_row, new.rows, crc, collection),
        )
