"""Notes without vectors: of a data directory whose collections another engine keeps.

That engine backs up its vectors by its own means. The server's aliases, fitted models, maps and
measured recall lie in the data directory alone.
"""

import contextlib
from pathlib import Path
from typing import Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.copying import copy_checked, files_of
from kokeshi.index.lock import fsync_directory
from kokeshi.index.manifest import CopiedNotes, Manifest
from kokeshi.index.notes_file import FILE as NOTES
from kokeshi.index.notes_survey import survey_notes, survey_notes_file
from kokeshi.index.schema import open_reader
from kokeshi.index.verify import Survey

NOTES_RESTORING: Final = f"{NOTES}.restoring"  # of a backup, on their way to take the place


def verify_notes(directory: Path) -> Survey:
    """Checks the notes of a data directory, in use or not.

    Raises:
        SetupError: there are none, or they cannot be opened.
    """
    path = directory / NOTES
    if not path.exists():
        raise SetupError(f"there are no notes in {directory}")
    try:
        with contextlib.closing(open_reader(directory, NOTES)) as connection:
            return Survey((), (), survey_notes(connection))
    except apsw.Error as error:
        raise SetupError(f"cannot open {path}: {error}") from error


def copy_notes(source: Path, directory: Path, notes: CopiedNotes) -> None:
    """Copies the notes of a backup beside what is there.

    Raises:
        SetupError: they are not those that were backed up.
    """
    copy_checked(source / NOTES, directory / NOTES_RESTORING, notes.sha256)
    if survey_notes_file(directory / NOTES_RESTORING) != notes.survey:
        raise SetupError("the backup is damaged: its notes are not those that were backed up")


def restore_notes(source: Path, directory: Path, manifest: Manifest, *, is_replacing: bool) -> None:
    """Puts the notes of a backup without vectors into a locked data directory.

    Cut off in between, the directory holds the notes that it held, or the new ones.

    Raises:
        SetupError: the backup is damaged, or there are notes that are in use or not to be replaced.
    """
    if (directory / NOTES).exists() and not is_replacing:
        raise SetupError(f"{directory} has notes; --replace replaces them")
    assert manifest.notes is not None  # it holds nothing else
    try:
        copy_notes(source, directory, manifest.notes)
        fsync_directory(directory)
        _fold_log(directory)
        (directory / NOTES_RESTORING).rename(directory / NOTES)
        fsync_directory(directory)
    except (SetupError, OSError) as error:
        with contextlib.suppress(OSError):
            (directory / NOTES_RESTORING).unlink(missing_ok=True)
        if isinstance(error, SetupError):
            raise
        raise SetupError(f"cannot restore {source} to {directory}: {error}") from error


def _fold_log(directory: Path) -> None:
    """Leaves the notes that are there without a log: one rename replaces them then.

    Raises:
        SetupError: a process has them open.
    """
    path = directory / NOTES
    try:
        if path.exists():
            with contextlib.closing(apsw.Connection(str(path))) as connection:
                connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except apsw.BusyError as error:
        raise SetupError(f"the notes in {directory} are in use: stop the server first") from error
    except apsw.Error:
        pass  # damaged ones may be replaced
    for name in files_of(NOTES)[1:]:
        (directory / name).unlink(missing_ok=True)
