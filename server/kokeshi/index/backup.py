"""Backups of a data directory, taken while it is written to.

A backup is a directory with the database and the notes, as of one moment, and a manifest that says
what is in them. It is written aside and renamed once it is whole and on the disk; index files are
left out, they are derived.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import apsw

from kokeshi.errors import SetupError
from kokeshi.index.crash_points import crash_point
from kokeshi.index.lock import fsync_directory, fsync_file
from kokeshi.index.manifest import CopiedNotes, Manifest, read_manifest, write_manifest
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
    step_pages: int = STEP_PAGES,
    progress: Progress | None = None,
) -> Manifest:
    """Copies database and notes of a data directory, in use or not, to a directory of its own.

    Readers and writers go on meanwhile; what is copied is the state at the start. The log of the
    database grows by what is written while the copy is made.

    Args:
        directory: a data directory.
        target: absent or empty.
        step_pages: copied at a time.
        progress: is told the share that is done.

    Raises:
        SetupError: there is no database, the target is taken, or the disk is full.
    """
    if not (directory / DATABASE).exists():
        raise SetupError(f"there is no database in {directory}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SetupError(f"{target} is not an empty directory")
    aside = target.with_name(f"{target.name}.partial")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        _copy(directory, aside, step_pages, progress)
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


def verify_backup(source: Path) -> Survey:
    """Checks a backup: its manifest, the bytes of its files, every row, every page, every note.

    Raises:
        SetupError: there is no backup, or its manifest is damaged.
    """
    manifest = read_manifest(source)
    notes = _verified_notes(source / NOTES, manifest.notes)
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
    return (path.stat().st_size, _sha256(path)) == (copied.bytes, copied.sha256)


def _copy(directory: Path, aside: Path, step_pages: int, progress: Progress | None) -> None:
    """Copies the database and, where there are any, the notes as they are at one moment."""
    with contextlib.ExitStack() as stack:

        def opened(name: str) -> Any:  # noqa: ANN401 - apsw is untyped
            return stack.enter_context(contextlib.closing(open_reader(directory, name)))

        sources = {DATABASE: opened(DATABASE)}
        if (directory / NOTES).exists():
            sources[NOTES] = opened(NOTES)
        # One read transaction over all steps: otherwise each write would start the copy anew.
        _begin(list(sources.values()), opened(DATABASE))
        _check_version(sources[DATABASE], directory)
        for name, source in reversed(sources.items()):
            _copy_pages(source, aside / name, step_pages, progress if name == DATABASE else None)


def _begin(sources: Sequence[Any], watch: Any) -> None:  # noqa: ANN401 - apsw is untyped
    """Begins a read of each file, with no write to the database between the first and the last.

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
    found = verify_file(path)
    return Manifest(
        created_s=time.time(),
        schema=SCHEMA_VERSION,
        bytes=path.stat().st_size,
        sha256=_sha256(path),
        collections=found.collections,
        findings=found.findings,
        notes=_described_notes(aside / NOTES),
    )


def _described_notes(path: Path) -> CopiedNotes | None:
    if not path.exists():
        return None
    return CopiedNotes(path.stat().st_size, _sha256(path), survey_notes_file(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
