"""Backups of a data directory, taken while it is written to, and their way back.

A backup is a directory with the database, as of one moment, and a manifest that says what is in it.
It is written aside and renamed once it is whole and on the disk; index files are left out, they are
derived.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import apsw
import orjson

from kokeshi.errors import SetupError
from kokeshi.index.cache import INDEXES
from kokeshi.index.crash_points import crash_point
from kokeshi.index.lock import DirectoryLock, fsync_directory, fsync_file
from kokeshi.index.schema import DATABASE, RESTORING, SCHEMA_VERSION, open_reader
from kokeshi.index.verify import CollectionSurvey, Survey, verify_file

MANIFEST: Final = "manifest.json"
BACKUP_FORMAT: Final = 1
STEP_PAGES: Final = 256  # 4 MiB are copied at a time
COPY_BYTES: Final = 1 << 20

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes:
        created_s: seconds since 1970.
        schema: format of the database.
        bytes: size of the database.
        sha256: of the database.
        collections: what was read in it.
        findings: what was wrong with the database when it was copied.
    """

    created_s: float
    schema: int
    bytes: int
    sha256: str
    collections: tuple[CollectionSurvey, ...]
    findings: tuple[str, ...]
    format: int = BACKUP_FORMAT


def backup(
    directory: Path,
    target: Path,
    *,
    step_pages: int = STEP_PAGES,
    progress: Progress | None = None,
) -> Manifest:
    """Copies the database of a data directory, in use or not, to a directory of its own.

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
        _copy(directory, aside / DATABASE, step_pages, progress)
        crash_point("backup.after_copy")
        manifest = _described(aside / DATABASE)
        _write_manifest(aside, manifest)
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


def restore(source: Path, directory: Path, *, is_replacing: bool = False) -> Manifest:
    """Puts a backup into a data directory that is absent, empty, or to be replaced.

    The backup is checked as it is copied, every row of the copy too, before it takes its place.
    Cut off in between, the directory holds what it held, or refuses to be opened until a restore
    has come to its end.

    Args:
        source: a directory that `backup` wrote.
        directory: a data directory that no process has open.
        is_replacing: drops the database that is there.

    Raises:
        SetupError: the backup is damaged, or the directory is in use, not empty or full.
    """
    manifest = read_manifest(source)
    with DirectoryLock(directory):
        if not is_replacing:
            _check_empty(directory)
        aside = directory / RESTORING
        try:
            _copy_checked(source / DATABASE, aside, manifest)
            _put_in_place(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise SetupError(f"cannot restore {source} to {directory}: {error}") from error
    return manifest


def verify_backup(source: Path) -> Survey:
    """Checks a backup: its manifest, the bytes of its database, every row, every count, every page.

    Raises:
        SetupError: there is no backup, or its manifest is damaged.
    """
    manifest = read_manifest(source)
    path = source / DATABASE
    if not path.exists() or (path.stat().st_size, _sha256(path)) != (
        manifest.bytes,
        manifest.sha256,
    ):
        return Survey((), ("the database is not the one that was backed up",))
    return verify_file(path)


def read_manifest(source: Path) -> Manifest:
    """What a backup says that it holds.

    Raises:
        SetupError: there is none, it is damaged, or of a newer format.
    """
    try:
        seal, _, encoded = (source / MANIFEST).read_bytes().partition(b"\n")
    except OSError as error:
        raise SetupError(f"{source} is no backup: {error}") from error
    if hashlib.sha256(encoded).hexdigest().encode() != seal:
        raise SetupError(f"the manifest of backup {source} is damaged")
    values: dict[str, Any] = orjson.loads(encoded)
    if values["format"] != BACKUP_FORMAT or values["schema"] > SCHEMA_VERSION:
        raise SetupError(
            f"backup {source} has format {values['format']}.{values['schema']}, this version of "
            f"kokeshi reads format {BACKUP_FORMAT}.{SCHEMA_VERSION} and older ones"
        )
    collections = tuple(
        CollectionSurvey(**{**one, "findings": tuple(one["findings"])})
        for one in values.pop("collections")
    )
    return Manifest(**{**values, "collections": collections, "findings": tuple(values["findings"])})


def _copy(directory: Path, path: Path, step_pages: int, progress: Progress | None) -> None:
    source, copy = open_reader(directory), apsw.Connection(str(path))
    try:
        copy.execute("PRAGMA synchronous = OFF")  # fsynced below, at once
        # One read transaction over all steps: otherwise each write would start the copy anew.
        source.execute("BEGIN")
        version = source.execute("SELECT version FROM schema_version").get
        if version != SCHEMA_VERSION:
            raise SetupError(
                f"{directory} has format {version}, this version of kokeshi backs up format "
                f"{SCHEMA_VERSION}; a start brings older ones to it"
            )
        with copy.backup("main", source, "main") as steps:
            while not steps.done:
                steps.step(step_pages)
                if progress:
                    progress(1 - steps.remaining / max(steps.page_count, 1))
        # a plain file without a log, that can be read where nothing can be written
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    finally:
        copy.close()
        source.close()
    fsync_file(path)


def _described(path: Path) -> Manifest:
    found = verify_file(path)
    return Manifest(
        created_s=time.time(),
        schema=SCHEMA_VERSION,
        bytes=path.stat().st_size,
        sha256=_sha256(path),
        collections=found.collections,
        findings=found.findings,
    )


def _write_manifest(directory: Path, manifest: Manifest) -> None:
    encoded = orjson.dumps(asdict(manifest))
    path = directory / MANIFEST
    path.write_bytes(hashlib.sha256(encoded).hexdigest().encode() + b"\n" + encoded)
    fsync_file(path)


def _check_empty(directory: Path) -> None:
    # what a restore that was cut off has left does not count
    strange = {path.name for path in directory.iterdir()} - {"lock", RESTORING}
    if strange:
        raise SetupError(
            f"{directory} is not empty, it has {min(strange)!r}; say so to replace what is there"
        )


def _copy_checked(source: Path, aside: Path, manifest: Manifest) -> None:
    state = hashlib.sha256()
    with source.open("rb") as old, aside.open("wb") as new:
        for part in _parts(old):
            state.update(part)
            new.write(part)
        new.flush()
        os.fsync(new.fileno())
    if state.hexdigest() != manifest.sha256:
        aside.unlink()
        raise SetupError("the backup is damaged: its database is not the one that was backed up")
    found = verify_file(aside)
    # what was damaged when it was backed up is no reason to withhold the rest
    if (found.collections, found.findings) != (manifest.collections, manifest.findings):
        aside.unlink()
        raise SetupError("the backup is damaged: its rows are not those that were backed up")


def _parts(file: Any) -> Iterator[bytes]:  # noqa: ANN401 - a binary file
    while part := file.read(COPY_BYTES):
        yield part


def _put_in_place(directory: Path) -> None:
    """Drops what is there and gives the copy its name, in an order that leaves no false whole.

    Without a database, but with a copy beside, a directory refuses to be opened.
    """
    fsync_directory(directory)
    crash_point("restore.before_drop")
    (directory / DATABASE).unlink(missing_ok=True)
    for ending in ("-wal", "-shm"):  # of the old one: it would be taken for the new one's
        (directory / f"{DATABASE}{ending}").unlink(missing_ok=True)
    # index files name rows by number, which the backup may give again
    if (directory / INDEXES).exists():
        shutil.rmtree(directory / INDEXES)
    fsync_directory(directory)
    crash_point("restore.before_rename")
    (directory / RESTORING).rename(directory / DATABASE)
    crash_point("restore.after_rename")
    fsync_directory(directory)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
