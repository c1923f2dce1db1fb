"""The file that notes are kept in: its tables, its checksums and how it is opened."""

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import OverloadedError, SetupError, UnavailableError
from kokeshi.index.lock import fsync_directory

FILE: Final = "notes.sqlite"
FORMAT: Final = 1
BUSY_TIMEOUT_MS: Final = 10_000
NOTE_COLUMNS: Final = "collection, kind, name, is_json, value, crc"
ALIAS_COLUMNS: Final = "name, collection, crc"
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
# of a file; a bit that turned in the text of a table ends reads with an SQLError
_FAILURES: Final = (
    apsw.BusyError, apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.SQLError
)  # fmt: skip


def open_notes(directory: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens the file, making it where there is none.

    Raises:
        SetupError: it cannot be opened, or is of another format.
    """
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
def told() -> Iterator[None]:
    """Turns what SQLite says into what a user can be told."""
    try:
        yield
    except apsw.FullError as error:
        raise OverloadedError("the disk is full") from error
    except apsw.ConnectionClosedError as error:
        raise UnavailableError("the notes are closed") from error
    except _FAILURES as error:
        raise UnavailableError(f"the notes cannot be used: {type(error).__name__}") from error


def seal(*parts: str | bytes) -> int:
    """The checksum of an entry: of all parts and where each begins."""
    crc = 0
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        crc = zlib.crc32(data, zlib.crc32(len(data).to_bytes(8, "little"), crc))
    return crc


def is_whole(row: tuple[Any, ...]) -> bool:
    """False for a row of `NOTE_COLUMNS` whose checksum is wrong."""
    collection, kind, name, is_json, value, crc = row
    return seal(collection, kind, name, str(is_json), value) == crc


def is_whole_alias(row: tuple[Any, ...]) -> bool:
    """False for a row of `ALIAS_COLUMNS` whose checksum is wrong."""
    name, collection, crc = row
    return seal(name, collection) == crc
