"""Reads all notes of a file and says what is wrong with them; changes nothing."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.index.notes_file import ALIAS_COLUMNS, FORMAT, NOTE_COLUMNS, is_whole, is_whole_alias
from kokeshi.index.schema import open_still

MAX_FINDINGS: Final = 10  # that are told one by one


@dataclass(frozen=True)
class NotesSurvey:
    """What was found in the notes.

    Attributes:
        aliases: that are whole.
        entries: fitted models, curves of recall and the like that are whole.
        damaged: of both, entries that are there and not whole.
        findings: what is wrong, in words; the first few.
    """

    aliases: int = 0
    entries: int = 0
    damaged: int = 0
    findings: tuple[str, ...] = ()


def survey_notes_file(path: Path) -> NotesSurvey:
    """Checks a file that nobody writes to; see `survey_notes`."""
    with contextlib.closing(open_still(path)) as connection:
        return survey_notes(connection)


def survey_notes(connection: Any) -> NotesSurvey:  # noqa: ANN401 - apsw is untyped
    """Checks all that a connection sees, as of one moment; it is of no use for anything else then.

    The transaction is left to end with the connection: over damaged pages even its end may fail.
    """
    try:
        connection.execute("BEGIN")
        version = connection.execute("PRAGMA user_version").get
        if not version:  # a server has begun to make it
            return NotesSurvey()
        if version != FORMAT:
            return NotesSurvey(findings=(f"the notes have format {version}, expected {FORMAT}",))
        return _read(connection)
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError) as error:
        return NotesSurvey(findings=(f"the notes are malformed: {error}",))


def _read(connection: Any) -> NotesSurvey:  # noqa: ANN401 - apsw is untyped
    findings = _structure(connection)
    bad_notes = [
        f"note {name!r} of kind {kind!r} of collection {collection!r} is damaged"
        for (collection, kind, name, *rest) in connection.execute(
            f"SELECT {NOTE_COLUMNS} FROM notes ORDER BY collection, kind, name"
        )
        if not is_whole((collection, kind, name, *rest))
    ]
    bad_aliases = [
        f"alias {row[0]!r} is damaged"
        for row in connection.execute(f"SELECT {ALIAS_COLUMNS} FROM aliases ORDER BY name")
        if not is_whole_alias(row)
    ]
    return NotesSurvey(
        aliases=connection.execute("SELECT count(*) FROM aliases").get - len(bad_aliases),
        entries=connection.execute("SELECT count(*) FROM notes").get - len(bad_notes),
        damaged=len(bad_notes) + len(bad_aliases),
        findings=tuple([*findings, *bad_notes, *bad_aliases][:MAX_FINDINGS]),
    )


def _structure(connection: Any) -> Iterable[str]:  # noqa: ANN401 - apsw is untyped
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})")]
    return () if found == ["ok"] else found
