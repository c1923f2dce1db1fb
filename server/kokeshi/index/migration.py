"""Brings a database of an older format to the one of today, on a copy.

The copy is written aside, every row of it checked, fsynced and renamed into place; the old database
is kept under another name until the next good start. At every moment one of the two stands whole
under the name of the database.
"""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index import format_1
from kokeshi.index.crash_points import crash_point
from kokeshi.index.lock import fsync_directory, fsync_file
from kokeshi.index.schema import ASIDE, DATABASE, RESTORING, create_tables, lay_out, open_still

logger = logging.getLogger(__name__)


def old_name(version: int) -> str:
    """Name under which a database of an older format is kept."""
    return f"{DATABASE}.v{version}"


def migrate(directory: Path, version: int) -> None:
    """Replaces the database of a directory, which is locked, by one of today's format.

    Rows that were damaged are damaged in the copy too: their collection stays in quarantine.

    Raises:
        SetupError: it cannot be read or the copy not be written; all is left as it was.
    """
    path, aside = directory / DATABASE, directory / ASIDE
    logger.info("bringing the database from format %d to today's; the old one is kept", version)
    try:
        _fold_log(path)
        aside.unlink(missing_ok=True)
        _copy(path, aside, STEPS[version])
        crash_point("migration.before_fsync")
        fsync_file(aside)
        _keep_old(path, directory / old_name(version))
        crash_point("migration.before_rename")
        aside.rename(path)
        crash_point("migration.after_rename")
        fsync_directory(directory)
    except (apsw.Error, OSError) as error:
        if aside.exists():  # the old database is in its place
            _discard(directory / old_name(version))
            _discard(aside)
        raise SetupError(
            f"cannot bring {path} from format {version} to today's: {error}; it is left as it was"
        ) from error


def discard_old(directory: Path) -> None:
    """Removes what a migration kept or left, and a restore left; the database has proven itself."""
    for name in (*map(old_name, STEPS), ASIDE, RESTORING):
        _discard(directory / name)


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("cannot remove %s: %s", path, error)


def _fold_log(path: Path) -> None:
    """Brings what a killed process left in the log into the database, and removes the log."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # opens the log
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
    if path.with_name(f"{path.name}-wal").exists():
        raise OSError("another program holds its log")


def _keep_old(path: Path, kept: Path) -> None:
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copyfile(path, kept)
        fsync_file(kept)
    fsync_directory(path.parent)


def _copy(path: Path, aside: Path, step: Callable[[Any, Any], None]) -> None:
    old = open_still(path)
    new = apsw.Connection(str(aside))
    try:
        lay_out(new)
        new.execute("PRAGMA journal_mode = OFF").fetchall()  # a copy that fails is thrown away
        new.execute("PRAGMA synchronous = OFF")
        with new:
            create_tables(new)
            step(old, new)
        _check(old, new)
    finally:
        new.close()
        old.close()


def _check(old: Any, new: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Reads the copy again and compares its counts."""
    found = new.execute("PRAGMA quick_check").get
    if found != "ok":
        raise apsw.CorruptError(f"the copy is malformed: {found}")
    for table in ("collections", "items", "requests"):
        counts = [one.execute(f"SELECT count(*) FROM {table}").get for one in (old, new)]
        if counts[0] != counts[1]:
            raise apsw.CorruptError(f"the copy has {counts[1]} of {counts[0]} {table}")


STEPS: Final[dict[int, Callable[[Any, Any], None]]] = {1: format_1.copy}
