"""Reads a whole database and the notes beside it, and says what is wrong; changes nothing."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.lock import read_alone
from kokeshi.index.notes_file import FILE as NOTES
from kokeshi.index.notes_survey import NotesSurvey, survey_notes
from kokeshi.index.reads import StoredCollection, collections_in, row_span
from kokeshi.index.rows import ROW_COLUMNS, DamagedRowError, read_row
from kokeshi.index.schema import (
    DATABASE,
    SCHEMA_VERSION,
    open_reader,
    open_still,
    strange_tables,
)

MAX_FINDINGS: Final = 10  # of a collection that are told one by one

_ROWS: Final = (
    f"SELECT {ROW_COLUMNS} FROM items i LEFT JOIN vectors v USING (row)"
    " WHERE i.row > ? AND i.row < ? ORDER BY i.row"
)


@dataclass(frozen=True)
class CollectionSurvey:
    """What was found in one collection.

    Attributes:
        rows: read and whole.
        seq: the last write.
        damaged: rows that are there and not whole, or whose place is wrong.
        findings: what is wrong, in words; the first few.
    """

    name: str
    number: int
    seq: int
    rows: int
    damaged: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What was found in a database; `findings` are of the database as a whole.

    `notes` is what was found in the notes beside it; None where there are none.
    """

    collections: tuple[CollectionSurvey, ...]
    findings: tuple[str, ...]
    notes: NotesSurvey | None = None

    @property
    def is_sound(self) -> bool:
        """True where nothing is wrong."""
        return not (
            self.findings
            or any(one.findings for one in self.collections)
            or (self.notes and self.notes.findings)
        )


def verify(directory: Path) -> Survey:
    """Checks a data directory, in use or not: every row, every count, every page, every note.

    Raises:
        SetupError: there is no database, or it cannot be opened.
    """
    if not (directory / DATABASE).exists():
        raise SetupError(f"there is no database in {directory}")
    with read_alone(directory) as is_alone:
        with _opened(directory, DATABASE, is_alone=is_alone) as connection:
            found = survey(connection)
        if not (directory / NOTES).exists():
            return found
        with _opened(directory, NOTES, is_alone=is_alone) as connection:
            return replace(found, notes=survey_notes(connection))


@contextlib.contextmanager
def _opened(directory: Path, name: str, *, is_alone: bool) -> Iterator[Any]:
    path = directory / name
    try:
        connection = open_still(path) if is_alone else open_reader(directory, name)
    except apsw.Error as error:
        raise SetupError(f"cannot open {path}: {error}") from error
    with contextlib.closing(connection):
        yield connection


def verify_file(path: Path) -> Survey:
    """Checks a database that nobody writes to; see `verify`."""
    with contextlib.closing(open_still(path)) as connection:
        return survey(connection)


def survey(connection: Any) -> Survey:  # noqa: ANN401 - apsw is untyped
    """Checks all that a connection sees, as of one moment; it is of no use for anything else then.

    The transaction is left to end with the connection: over damaged pages even its end may fail.
    """
    try:
        connection.execute("BEGIN")
        version = connection.execute("SELECT version FROM schema_version").get
        if version != SCHEMA_VERSION:
            return Survey((), (f"has format {version}, expected format {SCHEMA_VERSION}",))
        stored = collections_in(connection)
        surveys = tuple(_survey_collection(connection, one) for one in stored)
        findings = (*_structure(connection), *_strays(connection, surveys))
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        return Survey((), (f"the database is malformed: {error}",))
    return Survey(surveys, findings)


def _structure(connection: Any) -> list[str]:  # noqa: ANN401 - apsw is untyped
    try:
        found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})")]
    except apsw.CorruptError as error:
        return [f"the database is malformed: {error}"]
    strange = [f"{name} is not as it was made" for name in strange_tables(connection)]
    return strange if found == ["ok"] else [*strange, *found]


def _strays(connection: Any, surveys: tuple[CollectionSurvey, ...]) -> Iterator[str]:  # noqa: ANN401 - apsw is untyped
    known = sum(one.rows + one.damaged for one in surveys)
    for table in ("items", "vectors"):
        try:
            there = connection.execute(f"SELECT count(*) FROM {table}").get
        except apsw.CorruptError:
            continue  # said already
        if there != known:
            yield f"{table} has {there} rows, its collections have {known}"


def _survey_collection(connection: Any, stored: StoredCollection) -> CollectionSurvey:  # noqa: ANN401 - apsw is untyped
    findings: list[str] = []
    try:
        stored.read_spec()
    except DamagedRowError as error:
        findings.append(str(error))
    whole, damaged, seq = 0, 0, 0
    try:
        for values in connection.execute(_ROWS, row_span(stored.number)):
            try:
                seq = _read_in_place(values, stored, seq)
                whole += 1
            except DamagedRowError as error:
                damaged += 1
                findings.append(str(error))
    except apsw.CorruptError:
        findings.append(f"the database is malformed after {whole + damaged} rows")
    if whole + damaged != stored.rows:
        findings.append(f"has {whole + damaged} rows, expected {stored.rows}")
    shown = tuple(findings[:MAX_FINDINGS])
    return CollectionSurvey(stored.name, stored.number, stored.seq, whole, damaged, shown)


def _read_in_place(values: tuple[Any, ...], stored: StoredCollection, last_seq: int) -> int:
    """The write that made a row, once all of it was found right."""
    row = read_row(values)
    if values[1] != stored.number or row.row > stored.last_row:
        raise DamagedRowError(f"row {row.row} is not where it belongs")
    if not last_seq <= row.seq <= stored.seq:
        raise DamagedRowError(f"row {row.row} is of write {row.seq}, out of order")
    return row.seq
