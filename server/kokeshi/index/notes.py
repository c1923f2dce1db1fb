"""What belongs to collections but to no store: aliases, calibrations, maps, rotations.

A small SQLite file in the data directory, so that it works over every store. Several threads may
share a `Notes`, and several processes a directory. Every entry has a checksum; one that is damaged
is reported, never served.
"""

import contextlib
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw
import orjson

from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    SetupError,
    UnavailableError,
)
from kokeshi.index.lock import fsync_directory

FILE: Final = "notes.sqlite"
FORMAT: Final = 1
BUSY_TIMEOUT_MS: Final = 10_000
MAX_NAME_CHARACTERS: Final = 256
MAX_VALUE_BYTES: Final = 64 * 2**20
MAX_ALIASES: Final = 10_000

Rows = list[tuple[Any, ...]]

_ALIAS: Final = re.compile(r"[a-z0-9_-]{1,64}")
_TABLES: Final = """
CREATE TABLE notes (
    collection TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    is_json INTEGER NOT NULL,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL,   -- of all other columns
    PRIMARY KEY (collection, kind, name)
) STRICT;
CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    collection TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Note:
    """An entry without its value; `is_damaged` says that its checksum is wrong."""

    collection: str
    kind: str
    name: str
    size_bytes: int
    is_damaged: bool


class Notes:
    """The notes of a data directory.

    Args:
        directory: made when it is not there.

    Raises:
        SetupError: the file cannot be opened, or is of another format.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        self._connection = _open(directory)
        self._has_failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._connection.close()

    def put(self, collection: str, kind: str, name: str, value: object) -> None:
        """Keeps an entry, on the disk when this returns; replaces one that is there.

        Args:
            collection: that it belongs to.
            kind: of entry.
            name: among those of its kind.
            value: bytes, or anything that JSON holds.

        Raises:
            InvalidRequestError: a name or the value cannot be kept.
        """
        for word in (collection, kind, name):
            _check_name(word)
        is_json = not isinstance(value, bytes)
        data = value if isinstance(value, bytes) else _encoded(value)
        if len(data) > MAX_VALUE_BYTES:
            raise InvalidRequestError(
                f"a note has at most {MAX_VALUE_BYTES} bytes, got {len(data)}"
            )
        crc = _crc(collection, kind, name, str(int(is_json)), data)
        with self._writing() as run:
            run(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?)",
                (collection, kind, name, int(is_json), data, crc),
            )

    def get(self, collection: str, kind: str, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """An entry as it was given, bytes or JSON; None where there is none.

        Raises:
            UnavailableError: it is damaged.
        """
        rows = self._read(
            "SELECT collection, kind, name, is_json, value, crc FROM notes"
            " WHERE collection = ? AND kind = ? AND name = ?",
            (collection, kind, name),
        )
        if not rows:
            return None
        if not _is_whole(rows[0]):
            raise UnavailableError(
                f"note {name!r} of kind {kind!r} of collection {collection!r} is damaged"
            )
        *_, is_json, value, _ = rows[0]
        return orjson.loads(value) if is_json else value

    def list(self, collection: str | None = None, kind: str | None = None) -> tuple[Note, ...]:
        """Entries by collection, kind and name, damaged ones too; None is any."""
        rows = self._read(
            "SELECT collection, kind, name, is_json, value, crc FROM notes"
            " WHERE (?1 IS NULL OR collection = ?1) AND (?2 IS NULL OR kind = ?2)"
            " ORDER BY collection, kind, name",
            (collection, kind),
        )
        return tuple(Note(row[0], row[1], row[2], len(row[4]), not _is_whole(row)) for row in rows)

    def delete(self, collection: str, kind: str, name: str) -> bool:
        """Removes an entry; false where there was none."""
        with self._writing() as run:
            run(
                "DELETE FROM notes WHERE collection = ? AND kind = ? AND name = ?",
                (collection, kind, name),
            )
            return bool(self._connection.changes())

    def forget(self, collection: str) -> None:
        """Removes all that belongs to a collection, its aliases too."""
        with self._writing() as run:
            run("DELETE FROM notes WHERE collection = ?", (collection,))
            run("DELETE FROM aliases WHERE collection = ?", (collection,))

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """Points names at collections, all of them at once or none; those that exist move.

        Raises:
            InvalidRequestError: a name cannot be an alias.
            AlreadyExistsError: too many aliases exist.
        """
        for name in aliases:
            if not _ALIAS.fullmatch(name):
                raise InvalidRequestError(
                    f"an alias is 1 to 64 of a-z, 0-9, _ and -, got {name!r:.80}"
                )
        with self._writing() as run:
            for name, collection in aliases.items():
                run(
                    "INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)",
                    (name, collection, _crc(name, collection)),
                )
            (count,) = run("SELECT count(*) FROM aliases", ()).fetchone()
            if count > MAX_ALIASES:
                raise AlreadyExistsError(f"there may be {MAX_ALIASES} aliases, and no more")

    def aliases(self, collection: str | None = None) -> dict[str, str]:
        """Collections by alias, in the order of the aliases; None is of all collections.

        Raises:
            UnavailableError: one is damaged.
        """
        rows = self._read(
            "SELECT name, collection, crc FROM aliases"
            " WHERE ?1 IS NULL OR collection = ?1 ORDER BY name",
            (collection,),
        )
        return dict(_checked_alias(row) for row in rows)

    def resolve(self, name: str) -> str | None:
        """The collection that an alias stands for; None where there is no such alias.

        Raises:
            UnavailableError: the alias is damaged.
        """
        rows = self._read("SELECT name, collection, crc FROM aliases WHERE name = ?", (name,))
        return _checked_alias(rows[0])[1] if rows else None

    def delete_alias(self, name: str) -> None:
        """Removes an alias, a damaged one too.

        Raises:
            NotFoundError: there is none.
        """
        with self._writing() as run:
            run("DELETE FROM aliases WHERE name = ?", (name,))
            if not self._connection.changes():
                raise NotFoundError(f"no alias {name!r:.80}")

    def _read(self, statement: str, values: tuple[Any, ...]) -> Rows:
        with self._lock, _told():
            rows: Rows = self._connection.execute(statement, values).fetchall()
            return rows

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """A transaction that takes the write lock at once; on the disk when it ends."""
        with self._lock, _told():
            if self._has_failed:
                raise UnavailableError("writes of notes have stopped: the disk failed")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException as error:
                # after a failed fsync the kernel may drop the data and report success next time
                self._has_failed = isinstance(error, apsw.IOError)
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _open(directory: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    path = directory / FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
        _lay_out(connection, path)
        fsync_directory(directory)
    except (apsw.Error, OSError) as error:
        raise SetupError(f"cannot open {path}: {error}") from error
    return connection


def _lay_out(connection: Any, path: Path) -> None:  # noqa: ANN401 - apsw is untyped
    """Makes the tables of an empty file.

    Raises:
        SetupError: the file is of another format.
    """
    connection.execute("BEGIN IMMEDIATE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        connection.execute(_TABLES)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
    if found not in (0, FORMAT):
        connection.close()
        raise SetupError(
            f"{path} has format {found}, this version of kokeshi reads format {FORMAT}"
        )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turns what SQLite says into what a user can be told."""
    try:
        yield
    except apsw.FullError as error:
        raise OverloadedError("the disk is full") from error
    except apsw.ConnectionClosedError as error:
        raise UnavailableError("the notes are closed") from error
    except (apsw.BusyError, apsw.IOError, apsw.CorruptError, apsw.NotADBError) as error:
        raise UnavailableError(f"the notes cannot be used: {type(error).__name__}") from error


def _check_name(word: str) -> None:
    if len(word) > MAX_NAME_CHARACTERS:
        raise InvalidRequestError(
            f"a note's name is at most {MAX_NAME_CHARACTERS} characters, got {len(word)}"
        )


def _encoded(value: object) -> bytes:
    try:
        data = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise InvalidRequestError(f"a note is bytes or JSON: {error}") from error
    return data


def _crc(*parts: str | bytes) -> int:
    """Of all parts and where each begins."""
    crc = 0
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        crc = zlib.crc32(data, zlib.crc32(len(data).to_bytes(8, "little"), crc))
    return crc


def _is_whole(row: tuple[Any, ...]) -> bool:
    collection, kind, name, is_json, value, crc = row
    return _crc(collection, kind, name, str(is_json), value) == crc


def _checked_alias(row: tuple[Any, ...]) -> tuple[str, str]:
    name, collection, crc = row
    if _crc(name, collection) != crc:
        raise UnavailableError(f"alias {name!r} is damaged: set it again, or delete it")
    return name, collection
