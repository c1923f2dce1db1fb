"""`kokeshi index backup`, `restore` and `verify`: on the files of a server, in use or not."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kokeshi.cli.options import Json, load_settings
from kokeshi.cli.output import note, print_json, print_table, progress
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.index.manifest import Manifest
    from kokeshi.index.notes_survey import NotesSurvey
    from kokeshi.index.verify import CollectionSurvey, Survey
    from kokeshi.settings import Settings

EMBEDDED: Final = "embedded"  # the store whose vectors are in the data directory
Data = Annotated[
    Path | None, typer.Option("--data", help="Data directory of the server (KOKESHI_DATA).")
]
Source = Annotated[Path, typer.Argument(metavar="BACKUP", help="Directory that a backup wrote.")]


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Absent or empty directory.")],
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy all collections, aliases and fitted models to a directory, while a server writes."""
    from kokeshi.index.backup import backup as run

    settings = load_settings(data=data)
    with progress("percent") as bar:
        task = bar.add_task(target.name, total=100)
        manifest = run(
            settings.data,
            target,
            notes_alone=settings.store != EMBEDDED,
            progress=lambda share: bar.update(task, completed=int(100 * share)),
        )
    if as_json:
        print_json(asdict(manifest))
        return
    _tell_copy(manifest)


def restore(
    source: Source,
    *,
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the collections and aliases that are there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a backup and put it into a data directory that no server has open."""
    from kokeshi.index.restore import restore as run

    manifest = run(source, load_settings(data=data).data, is_replacing=replace)
    if as_json:
        print_json(asdict(manifest))
        return
    _tell_copy(manifest)
    if not manifest.has_room_for_notes:
        note("backups of that version left out aliases and fitted models: now there are none")


def verify(
    source: Annotated[
        Path | None, typer.Argument(metavar="BACKUP", help="A backup; without it the data.")
    ] = None,
    *,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Read every row and note of the data directory, or of a backup, and say what is damaged."""
    from kokeshi.index.backup import verify_backup

    found: Survey = verify_backup(source) if source else _verified(load_settings(data=data))
    if as_json:
        print_json(asdict(found))
    else:
        _tell(found.collections, found.findings, found.notes)
    if not found.is_sound:
        raise SetupError("the data is damaged")


def _verified(settings: "Settings") -> "Survey":
    from kokeshi.index.notes_alone import verify_notes
    from kokeshi.index.verify import verify as run

    return run(settings.data) if settings.store == EMBEDDED else verify_notes(settings.data)


def _tell_copy(manifest: "Manifest") -> None:
    notes = manifest.notes.survey if manifest.notes else None
    _tell(manifest.collections, manifest.findings, notes)
    if not manifest.has_vectors:
        note("notes alone: the vectors are in another engine, to be backed up by its own means")


def _tell(
    collections: "Sequence[CollectionSurvey]",
    findings: Iterable[str],
    notes: "NotesSurvey | None",
) -> None:
    if collections or not notes:
        print_table(
            ["name", "items ", "sequence ", "damaged "],
            ((one.name, one.rows, one.seq, one.damaged) for one in collections),
        )
    for one in collections:
        for finding in one.findings:
            note(f"{one.name}: {finding}")
    for finding in (*findings, *(notes.findings if notes else ())):
        note(finding)
    if notes:
        note(f"aliases: {notes.aliases}; fitted models, curves and other notes: {notes.entries}")
