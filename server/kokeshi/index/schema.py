"""The SQLite database of a data directory: its tables, its version and how it is opened."""

from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.lock import fsync_directory

DATABASE: Final = "vectors.sqlite"
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_MS: Final = 10_000
WAL_PAGES: Final = 4000  # 16 MiB between checkpoints
WAL_LIMIT_BYTES: Final = 64 * 2**20

# AUTOINCREMENT, because an index file names rows by number: a number must never come back.
_TABLES: Final = """
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
CREATE TABLE collections (
    collection INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec BLOB NOT NULL,      -- JSON
    crc INTEGER NOT NULL,    -- of name and spec
    seq INTEGER NOT NULL     -- the last write
) STRICT;
CREATE TABLE items (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections,
    seq INTEGER NOT NULL,    -- the write that made the row
    crc INTEGER NOT NULL,    -- of everything but `row`
    id TEXT NOT NULL,
    metadata BLOB NOT NULL,  -- JSON
    vector BLOB NOT NULL     -- float32, little-endian, as it was given
) STRICT;
CREATE UNIQUE INDEX items_by_id ON items (collection, id);
CREATE INDEX items_by_seq ON items (collection, seq);
CREATE TABLE requests (
    collection INTEGER NOT NULL REFERENCES collections,
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,    -- of the items
    seq INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (collection, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_seq ON requests (collection, seq);
"""


def open_database(directory: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens the writing connection, making the database when there is none.

    Raises:
        SetupError: the database is of a newer format, or no database. It is left as it is.
    """
    path = directory / DATABASE
    try:
        if path.exists() and path.stat().st_size:
            _check_version(path)
        connection = apsw.Connection(str(path))
        _configure(connection)
        _create_tables(connection)
    except apsw.Error as error:
        raise SetupError(f"cannot open {path}: {error}") from error
    fsync_directory(directory)
    return connection


def open_reader(directory: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens a connection that only reads."""
    connection = apsw.Connection(str(directory / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def _check_version(path: Path) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        if not _has_tables(connection):
            return
        version = connection.execute("SELECT version FROM schema_version").get
    finally:
        connection.close()
    if version != SCHEMA_VERSION:
        raise SetupError(
            f"{path} has format {version}, this version of kokeshi reads format {SCHEMA_VERSION}"
        )


def _has_tables(connection: Any) -> bool:  # noqa: ANN401 - apsw is untyped
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").get)


def _configure(connection: Any) -> None:  # noqa: ANN401 - apsw is untyped
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def _create_tables(connection: Any) -> None:  # noqa: ANN401 - apsw is untyped
    with connection:
        if not _has_tables(connection):
            connection.execute(_TABLES)
            connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
