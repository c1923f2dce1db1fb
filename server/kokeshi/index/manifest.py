"""What stands beside the files of a backup: what they hold, and by which they are checked.

Format 1 had no notes; a backup of that format is read as one of a directory without any. Format 3
is that of a backup without vectors; others are of format 2 still, for older versions to read.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from kokeshi.errors import SetupError
from kokeshi.index.lock import fsync_file
from kokeshi.index.notes_survey import NotesSurvey
from kokeshi.index.schema import SCHEMA_VERSION
from kokeshi.index.verify import CollectionSurvey

MANIFEST: Final = "manifest.json"
BACKUP_FORMAT: Final = 2
NOTES_SINCE: Final = 2  # format of backups that hold notes
NOTES_ALONE: Final = 3  # format of backups that hold nothing else, and the newest that is read

_Surveyed = TypeVar("_Surveyed", CollectionSurvey, NotesSurvey)


@dataclass(frozen=True)
class CopiedNotes:
    """The notes in a backup.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
        survey: what was read in it.
    """

    bytes: int
    sha256: str
    survey: NotesSurvey


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes:
        created_s: seconds since 1970.
        schema: format of the database.
        bytes: size of the database; 0: see `has_vectors`.
        sha256: of the database; likewise "".
        collections: what was read in it.
        findings: what was wrong with the database when it was copied.
        notes: aliases, fitted models and curves; None: there were none, or it is of format 1.
        format: of the backup.
    """

    created_s: float
    schema: int
    bytes: int
    sha256: str
    collections: tuple[CollectionSurvey, ...]
    findings: tuple[str, ...]
    notes: CopiedNotes | None = None
    format: int = BACKUP_FORMAT

    @property
    def has_vectors(self) -> bool:
        """False for a backup of notes whose collections another engine keeps."""
        return self.format != NOTES_ALONE

    @property
    def has_room_for_notes(self) -> bool:
        """False for a backup of a time when notes were left out."""
        return self.format >= NOTES_SINCE


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
    if values["format"] > NOTES_ALONE or values["schema"] > SCHEMA_VERSION:
        raise SetupError(
            f"backup {source} has format {values['format']}.{values['schema']}, this version of "
            f"kokeshi reads format {NOTES_ALONE}.{SCHEMA_VERSION} and older ones"
        )
    collections = tuple(_told(CollectionSurvey, one) for one in values.pop("collections"))
    notes = _notes(values.pop("notes", None))
    findings = tuple(values.pop("findings"))
    return Manifest(**values, collections=collections, findings=findings, notes=notes)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Puts a manifest into a backup; on the disk when this returns."""
    encoded = orjson.dumps(asdict(manifest))
    path = directory / MANIFEST
    path.write_bytes(hashlib.sha256(encoded).hexdigest().encode() + b"\n" + encoded)
    fsync_file(path)


def _notes(values: dict[str, Any] | None) -> CopiedNotes | None:
    if values is None:
        return None
    return CopiedNotes(**{**values, "survey": _told(NotesSurvey, values["survey"])})


def _told(kind: type[_Surveyed], values: dict[str, Any]) -> _Surveyed:
    return kind(**{**values, "findings": tuple(values["findings"])})
