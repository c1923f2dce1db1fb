"""Backups of a data directory, taken while it is written to.

A backup is a directory with the database and the notes, as of one moment, and a manifest that says
what is in them. It is written aside and renamed once it is whole and on the disk; index files are
left out, they are derived. Where another engine keeps the vectors, a backup has the notes alone:
that engine has means of its own.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.copying import sha256_of
from kokeshi.index.crash_points import crash_point
from kokeshi.index.lock import fsync_directory, fsync_file
from kokeshi.index.manifest import (
    BACKUP_FORMAT,
    NOTES_ALONE,
    CopiedNotes,
    Manifest,
    read_manifest,
    write_manifest,
)
from kokeshi.index.notes_file import FILE as NOTES
from kokeshi.index.notes_survey import NotesSurvey, survey_notes_file
from kokeshi.index.schema import DATABASE, SCHEMA_VERSION, open_reader
from kokeshi.index.verify import Survey, verify_file

STEP_PAGES: Final = 256  # 4 MiB are copied at a time
BEGINNINGS: Final = 100  # tries to begin between two writes

Progress = Callable[[float], None]


def backup(
    directory: Path,
    target: Path,
    *,
    notes_alone: bool = False,
    step_pages: int = STEP_PAGES,
    progress: Progress | None = None,
) -> Manifest:
    """Copies database and notes of a data directory, in use or not, to a directory of its own.

    Readers and writers go on meanwhile; what is copied is the state at the start. The log of the
    database grows by what is written while the copy is made.

    Args:
        directory: a data directory.
        target: absent or empty.
        notes_alone: another engine keeps the vectors; a database in the directory is left out.
        step_pages: copied at a time.
        progress: is told the share that is done.

    Raises:
        SetupError: there is nothing to copy, the target is taken, or the disk is full.
    """
    names = _names(directory, notes_alone=notes_alone)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SetupError(f"{target} is not an empty directory")
    aside = target.with_name(f"{target.name}.partial")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        _copy(directory, aside, names, step_pages, progress)
        crash_point("backup.after_copy")
        manifest = _described(aside)
        write_manifest(aside, manifest)
        fsync_directory(aside)
        crash_point("backup.before_rename")
        aside.rename(target)
        crash_point("backup.after_rename")
        fsync_directory(target.parent)
    except SetupError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    except (apsw.Error, OSError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise SetupError(f"cannot back up {directory} to {target}: {error}") from error
    return manifest


def _names(directory: Path, *, notes_alone: bool) -> Sequence[str]:
    """The files to copy, the largest first."""
    has_notes = (directory / NOTES).exists()
    if notes_alone:
        if not has_notes:
            raise SetupError(f"there are no notes in {directory}")
        return (NOTES,)
    if not (directory / DATABASE).exists():
        hint = "; where another engine keeps the vectors, name it as the store" if has_notes else ""
        raise SetupError(f"there is no database in {directory}{hint}")
    return (DATABASE, NOTES) if has_notes else (DATABASE,)


def verify_backup(source: Path) -> Survey:
    """Checks a backup: its manifest, the bytes of its files, every row, every page, every note.

    Raises:
        SetupError: there is no backup, or its manifest is damaged.
    """
    manifest = read_manifest(source)
    notes = _verified_notes(source / NOTES, manifest.notes)
    if not manifest.has_vectors:
        return Survey((), (), notes)
    if not _is_as_copied(source / DATABASE, manifest):
        return Survey((), ("the database is not the one that was backed up",), notes)
    return replace(verify_file(source / DATABASE), notes=notes)


def _verified_notes(path: Path, copied: CopiedNotes | None) -> NotesSurvey | None:
    if copied is None:
        return None
    if not _is_as_copied(path, copied):
        return NotesSurvey(findings=("the notes are not those that were backed up",))
    return survey_notes_file(path)


def _is_as_copied(path: Path, copied: Manifest | CopiedNotes) -> bool:
    if not path.exists():
        return False
    return (path.stat().st_size, sha256_of(path)) == (copied.bytes, copied.sha256)


def _copy(
    directory: Path,
    aside: Path,
    names: Sequence[str],
    step_pages: int,
    progress: Progress | None,
) -> None:
    """Copies files of a data directory as they are at one moment."""
    with contextlib.ExitStack() as stack:

        def opened(name: str) -> Any:  # noqa: ANN401 - apsw is untyped
            return stack.enter_context(contextlib.closing(open_reader(directory, name)))

        sources = {name: opened(name) for name in names}
        # One read transaction over all steps: otherwise each write would start the copy anew.
        _begin(list(sources.values()), opened(names[0]))
        if DATABASE in sources:
            _check_version(sources[DATABASE], directory)
        for name, source in reversed(sources.items()):
            _copy_pages(source, aside / name, step_pages, progress if name == names[0] else None)


def _begin(sources: Sequence[Any], watch: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Begins a read of each file, with no write to the first of them meanwhile.

    So an alias that is copied is of a collection that is copied. Where writes leave no gap, the
    last try is taken as it is.
    """
    for _ in range(BEGINNINGS):
        version = watch.execute("PRAGMA data_version").get
        for source in sources:
            if source.in_transaction:
                source.execute("ROLLBACK")
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if watch.execute("PRAGMA data_version").get == version:
            return


def _check_version(source: Any, directory: Path) -> None:  # noqa: ANN401 - apsw is untyped
    version = source.execute("SELECT version FROM schema_version").get
    if version != SCHEMA_VERSION:
        raise SetupError(
            f"{directory} has format {version}, this version of kokeshi backs up format "
            f"{SCHEMA_VERSION}; a start brings older ones to it"
        )


def _copy_pages(source: Any, path: Path, step_pages: int, progress: Progress | None) -> None:  # noqa: ANN401 - apsw is untyped
    with contextlib.closing(apsw.Connection(str(path))) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # fsynced below, at once
        with copy.backup("main", source, "main") as steps:
            while not steps.done:
                steps.step(step_pages)
                if progress:
                    progress(1 - steps.remaining / max(steps.page_count, 1))
        # a plain file without a log, that can be read where nothing can be written
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    fsync_file(path)


def _described(aside: Path) -> Manifest:
    path = aside / DATABASE
    has_vectors = path.exists()
    found = verify_file(path) if has_vectors else Survey((), ())
    return Manifest(
        created_s=time.time(),
        schema=SCHEMA_VERSION,
        bytes=path.stat().st_size if has_vectors else 0,
        sha256=sha256_of(path) if has_vectors else "",
        collections=found.collections,
        findings=found.findings,
        notes=_described_notes(aside / NOTES),
        format=BACKUP_FORMAT if has_vectors else NOTES_ALONE,
    )


def _described_notes(path: Path) -> CopiedNotes | None:
    if not path.exists():
        return None
    return CopiedNotes(path.stat().st_size, sha256_of(path), survey_notes_file(path))
