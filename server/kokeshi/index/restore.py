"""Backups put back into a data directory: checked first, and never there by half."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from kokeshi.errors import SetupError
from kokeshi.index.cache import INDEXES
from kokeshi.index.copying import copy_checked, files_of
from kokeshi.index.crash_points import crash_point
from kokeshi.index.lock import DirectoryLock, fsync_directory
from kokeshi.index.manifest import Manifest, read_manifest
from kokeshi.index.notes_alone import NOTES_RESTORING, copy_notes, restore_notes
from kokeshi.index.notes_file import FILE as NOTES
from kokeshi.index.schema import DATABASE, RESTORING
from kokeshi.index.verify import verify_file


def restore(source: Path, directory: Path, *, is_replacing: bool = False) -> Manifest:
    """Puts a backup into a data directory that is absent, empty, or to be replaced.

    The backup is checked as it is copied, every row of the copy too, before it takes its place.
    Cut off in between, the directory holds what it held, or refuses to be opened until a restore
    has come to its end. After one of a backup without notes there are none; one of a backup without
    vectors leaves what is beside the notes.

    Args:
        source: a directory that `backup` wrote.
        directory: a data directory that no process has open.
        is_replacing: drops the database and the notes that are there.

    Raises:
        SetupError: the backup is damaged, or the directory is in use, not empty or full.
    """
    manifest = read_manifest(source)
    with DirectoryLock(directory):
        if not manifest.has_vectors:
            restore_notes(source, directory, manifest, is_replacing=is_replacing)
            return manifest
        if not is_replacing:
            _check_empty(directory)
        try:
            with _cleared_on_error(directory):
                _copy_checked(source, directory, manifest)
            _put_in_place(directory)
        except OSError as error:
            raise SetupError(f"cannot restore {source} to {directory}: {error}") from error
    return manifest


def _check_empty(directory: Path) -> None:
    # what a restore that was cut off has left does not count
    left = {"lock", RESTORING, NOTES_RESTORING}
    if _is_cut_off(directory):
        left |= {INDEXES, *files_of(NOTES)}
    strange = {path.name for path in directory.iterdir()} - left
    if strange:
        raise SetupError(
            f"{directory} is not empty, it has {min(strange)!r}; --replace replaces what is there"
        )


def _is_cut_off(directory: Path) -> bool:
    """True where a restore did not come to its end, and the directory refuses to be opened."""
    return (directory / RESTORING).exists() and not (directory / DATABASE).exists()


@contextlib.contextmanager
def _cleared_on_error(directory: Path) -> Iterator[None]:
    """Drops copies that fail, unless they are what keeps the directory from being opened."""
    is_needed = _is_cut_off(directory)
    try:
        yield
    except (SetupError, OSError):
        for name in () if is_needed else (RESTORING, NOTES_RESTORING):
            with contextlib.suppress(OSError):
                (directory / name).unlink(missing_ok=True)
        raise


def _copy_checked(source: Path, directory: Path, manifest: Manifest) -> None:
    """Copies a backup beside what is there.

    Raises:
        SetupError: it is damaged.
    """
    copy_checked(source / DATABASE, directory / RESTORING, manifest.sha256)
    found = verify_file(directory / RESTORING)
    # what was damaged when it was backed up is no reason to withhold the rest
    if (found.collections, found.findings) != (manifest.collections, manifest.findings):
        raise SetupError("the backup is damaged: its rows are not those that were backed up")
    (directory / NOTES_RESTORING).unlink(missing_ok=True)  # of another backup
    if manifest.notes is not None:
        copy_notes(source, directory, manifest.notes)


def _put_in_place(directory: Path) -> None:
    """Drops what is there and gives the copies their names, in an order that leaves no false whole.

    Without a database, but with a copy beside, a directory refuses to be opened.
    """
    fsync_directory(directory)
    crash_point("restore.before_drop")
    # with the logs of the old ones, which would be taken for the new ones'
    for name in (*files_of(DATABASE), *files_of(NOTES)):
        (directory / name).unlink(missing_ok=True)
    # index files name rows by number, which the backup may give again
    if (directory / INDEXES).exists():
        shutil.rmtree(directory / INDEXES)
    fsync_directory(directory)
    crash_point("restore.before_rename")
    if (directory / NOTES_RESTORING).exists():
        (directory / NOTES_RESTORING).rename(directory / NOTES)
        fsync_directory(directory)
    (directory / RESTORING).rename(directory / DATABASE)
    crash_point("restore.after_rename")
    fsync_directory(directory)
