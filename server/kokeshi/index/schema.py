"""The SQLite database of a data directory: its tables, its version and how it is opened."""

import contextlib
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.lock import fsync_directory

logger = logging.getLogger(__name__)

DATABASE: Final = "vectors.sqlite"
ASIDE: Final = f"{DATABASE}.new"  # a copy of another format, on its way to take the place
RESTORING: Final = f"{DATABASE}.restoring"  # a backup on its way to take the place
SCHEMA_VERSION: Final = 2
BUSY_TIMEOUT_MS: Final = 10_000
# Rows of 2 to 4 KiB fill a quarter of a page of 4 KiB with nothing; measured, batches of 1,000 rows
# of 512 values are written 2.3 times as fast at 16 KiB, single rows no slower.
PAGE_BYTES: Final = 16 * 2**10
WAL_LIMIT_BYTES: Final = 64 * 2**20
CACHE_KIB: Final = 64 * 2**10  # of the writer: the index by id is touched at random

CHECK_BYTES: Final = 256 * 2**20  # read page by page at a start: a fraction of a second

# Vectors lie apart from what is said of them: metadata is read without them.
TABLES: Final = """
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
CREATE TABLE collections (
    collection INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec BLOB NOT NULL,         -- JSON
    crc INTEGER NOT NULL,       -- of spec
    seq INTEGER NOT NULL,       -- the last write
    last_row INTEGER NOT NULL,  -- an index file names rows by number: none may come back
    rows INTEGER NOT NULL,      -- that live
    state_crc INTEGER NOT NULL  -- of crc, collection, seq, last_row and rows
) STRICT;
CREATE TABLE items (
    row INTEGER PRIMARY KEY,    -- collection * 2**40 + a number that ascends
    collection INTEGER NOT NULL,
    seq INTEGER NOT NULL,       -- the write that made the row
    crc INTEGER NOT NULL,       -- of all other columns
    tenant TEXT NOT NULL DEFAULT '',
    id TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT '',  -- space that the vector was mapped from
    metadata BLOB NOT NULL      -- JSON
) STRICT;
CREATE UNIQUE INDEX items_by_id ON items (collection, tenant, id);
CREATE INDEX items_by_tenant ON items (collection, tenant) WHERE tenant <> '';
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL,       -- of the item's crc and the vector
    vector BLOB NOT NULL        -- float32, little-endian, as it was given
) STRICT;
CREATE TABLE requests (
    collection INTEGER NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,       -- of the items
    seq INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (collection, tenant, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_seq ON requests (collection, seq);
"""
_COMMENT: Final = re.compile(r"--[^\n]*")


def open_database(directory: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens the writing connection, making the database when there is none.

    Raises:
        SetupError: the database is not of this format, or no database, or was being restored. It is
            left as it is.
    """
    path = directory / DATABASE
    if not path.exists() and (directory / RESTORING).exists():
        raise SetupError(f"a restore into {directory} was cut off; run it again")
    try:
        version = version_of(path)
        if version not in {None, SCHEMA_VERSION}:
            raise SetupError(
                f"{path} has format {version}, this version of kokeshi reads format "
                f"{SCHEMA_VERSION} and older ones"
            )
        connection = apsw.Connection(str(path))
        configure(connection)
        with connection:
            if not _has_tables(connection):
                create_tables(connection)
        strange = strange_tables(connection)
        if strange:
            connection.close()
            raise SetupError(f"{path} is malformed: {strange[0]} is not as it was made")
        fsync_directory(directory)
    except (apsw.Error, OSError) as error:
        raise SetupError(f"cannot open {path}: {error}") from error
    return connection


def version_of(path: Path) -> int | None:
    """Format of a database; None where there is none yet.

    Raises:
        SetupError: it is no database, or one that holds something else.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        connection = open_still(path)
        try:
            if not _has_tables(connection):
                return None
            version: int = connection.execute("SELECT version FROM schema_version").get
        finally:
            connection.close()
    except apsw.Error as error:
        raise SetupError(f"cannot open {path}: {error}") from error
    return version


def open_reader(directory: Path, name: str = DATABASE) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens a connection that only reads, to the database or to another file of the directory."""
    connection = apsw.Connection(str(directory / name), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # the last connection to close folds the log into the database, which this one cannot
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def damage_of(connection: Any, directory: Path, check_bytes: int) -> str | None:  # noqa: ANN401 - apsw is untyped
    """The first thing that is wrong with a database; None also where it is too large to look.

    Args:
        connection: that writes.
        directory: of the database.
        check_bytes: larger ones are not looked at.
    """
    if (directory / DATABASE).stat().st_size > check_bytes:
        return None
    return _first_damage(connection)


def mended(connection: Any) -> str | None:  # noqa: ANN401 - apsw is untyped
    """Makes the indexes of a damaged database anew; what is wrong with it even then.

    They hold nothing that the tables do not, and one that lacks an entry would hide rows without a
    word.
    """
    try:
        connection.execute("REINDEX")
    except apsw.Error as error:
        return str(error)
    damage = _first_damage(connection)
    if damage is None:
        logger.warning("indexes of the database were damaged, and have been made anew")
    return damage


def _first_damage(connection: Any) -> str | None:  # noqa: ANN401 - apsw is untyped
    try:
        # quick_check does not compare indexes with their tables
        found: str = connection.execute("PRAGMA integrity_check(1)").get
    except apsw.CorruptError as error:
        found = str(error)
    return None if found == "ok" else found


def strange_tables(connection: Any) -> list[str]:  # noqa: ANN401 - apsw is untyped
    """Tables and indexes that are missing, or not as `TABLES` makes them.

    SQLite keeps their text and checks no more of it than that it can be read: another bit in the
    name of a column ends every read, one in the condition of an index hides rows.
    """
    found = _texts(connection)
    return [name for name, text in _right_texts().items() if found.get(name) != text]


@cache
def _right_texts() -> Mapping[str, str]:
    with contextlib.closing(apsw.Connection(":memory:")) as fresh:
        fresh.execute(TABLES)
        return _texts(fresh)


def _texts(connection: Any) -> Mapping[str, str]:  # noqa: ANN401 - apsw is untyped
    """By name, without comments, which may change between versions."""
    rows = connection.execute(
        "SELECT CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL"
    )
    told = ((name.decode(errors="replace"), text.decode(errors="replace")) for name, text in rows)
    return {name: " ".join(_COMMENT.sub("", text).split()) for name, text in told}


def open_still(path: Path) -> Any:  # noqa: ANN401 - apsw is untyped
    """Opens a database that nobody writes to read it; leaves no file behind where it can.

    A log that a killed process left has to be read too, and SQLite puts an index of it beside it.
    """
    log = path.with_name(f"{path.name}-wal")
    is_plain = not log.exists() or not log.stat().st_size
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"{path.absolute().as_uri()}?immutable={int(is_plain)}", flags)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def sizes(directory: Path) -> tuple[int, int]:
    """Bytes of a database and of its log."""
    return _bytes(directory / DATABASE), _bytes(directory / f"{DATABASE}-wal")


def lay_out(connection: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Settings that a file takes when its first page is written."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def configure(connection: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Settings of the connection that writes."""
    lay_out(connection)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def create_tables(connection: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Makes the tables of an empty database."""
    connection.execute(TABLES)
    connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))


def _has_tables(connection: Any) -> bool:  # noqa: ANN401 - apsw is untyped
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").get)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
