"""Notes in backups: aliases, fitted models and curves go where their collections go."""

import hashlib
import json
import os
import threading
from pathlib import Path

import apsw
import pytest
from killing import Killed, Steps

from kokeshi.errors import SetupError
from kokeshi.index import CollectionSpec, EmbeddedStore
from kokeshi.index import restore as restoring
from kokeshi.index.backup import backup, verify_backup
from kokeshi.index.manifest import read_manifest
from kokeshi.index.notes import Notes
from kokeshi.index.restore import restore
from kokeshi.index.verify import verify

SPACE = "0123456789abcdef"


def write_notes(directory, version=1):
    with Notes(directory) as notes:
        notes.put("faces", "map", "old", {"version": version, "weights": [0.5] * 2000})
        notes.put("faces", "curve", "main", bytes([version]) * 5000)
        notes.set_aliases({"live": "faces", "next": f"faces{version}"})


def read_notes(directory):
    with Notes(directory) as notes:
        entries = {
            (one.collection, one.kind, one.name): notes.get(one.collection, one.kind, one.name)
            for one in notes.list()
        }
        return entries, notes.aliases()


@pytest.fixture
def noted(home, tmp_path):
    """(data directory, its backup), the notes of the data one write ahead."""
    home.put(home.create(), range(20))
    write_notes(home.directory)
    backup(home.directory, tmp_path / "backup")
    write_notes(home.directory, version=2)
    return home.directory, tmp_path / "backup"


def rewrite(source, change):
    """Changes a manifest and seals it again."""
    _, _, encoded = (source / "manifest.json").read_bytes().partition(b"\n")
    values = json.loads(encoded)
    change(values)
    encoded = json.dumps(values).encode()
    seal = hashlib.sha256(encoded).hexdigest().encode()
    (source / "manifest.json").write_bytes(seal + b"\n" + encoded)


def test_notes_come_back_as_they_were_when_they_were_backed_up(noted, tmp_path):
    _, source = noted
    write_notes(tmp_path / "same")
    manifest = read_manifest(source)
    survey = manifest.notes.survey
    assert (survey.aliases, survey.entries, survey.damaged) == (2, 2, 0)
    assert verify_backup(source).notes == survey
    assert verify_backup(source).is_sound
    restore(source, tmp_path / "restored")
    assert read_notes(tmp_path / "restored") == read_notes(tmp_path / "same")
    assert verify(tmp_path / "restored").notes == survey


def test_notes_are_checked_and_backed_up_while_they_are_in_use(tmp_path):
    directory = tmp_path / "data"
    with EmbeddedStore(directory) as store, Notes(directory) as notes:
        store.create(CollectionSpec("faces", SPACE, 4))
        notes.set_aliases({"live": "faces"})
        assert verify(directory).notes.aliases == 1
        assert backup(directory, tmp_path / "backup").notes.survey.aliases == 1
        notes.set_aliases({"next": "faces"})
        assert verify(directory).notes.aliases == 2
    assert verify(directory).notes.aliases == 2


def test_a_restore_replaces_the_notes_that_are_there_with_their_log(noted, tmp_path):
    directory, source = noted
    used = tmp_path / "used"
    restore(source, used)
    write_notes(used, version=3)
    (used / "notes.sqlite-wal").write_bytes(b"of another file")
    restore(source, used, is_replacing=True)
    assert sorted(os.listdir(used)) == ["lock", "notes.sqlite", "vectors.sqlite"]
    assert read_notes(used)[1] == {"live": "faces", "next": "faces1"}
    assert read_notes(directory)[1]["next"] == "faces2"


def test_after_a_backup_without_notes_there_are_none(home, tmp_path):
    home.put(home.create(), range(5))
    assert backup(home.directory, tmp_path / "backup").notes is None
    assert sorted(os.listdir(tmp_path / "backup")) == ["manifest.json", "vectors.sqlite"]
    assert verify_backup(tmp_path / "backup").notes is None
    write_notes(tmp_path / "used")
    (tmp_path / "used" / "notes.sqlite.restoring").write_bytes(b"of a restore that was cut off")
    restore(tmp_path / "backup", tmp_path / "used", is_replacing=True)
    assert sorted(os.listdir(tmp_path / "used")) == ["lock", "vectors.sqlite"]
    assert read_notes(tmp_path / "used") == ({}, {})


def test_a_backup_of_the_first_format_is_restored_and_its_notes_are_empty(home, tmp_path):
    home.put(home.create(), range(5))
    backup(home.directory, tmp_path / "backup")
    rewrite(tmp_path / "backup", lambda values: (values.pop("notes"), values.update(format=1)))
    assert verify_backup(tmp_path / "backup").is_sound
    manifest = restore(tmp_path / "backup", tmp_path / "restored")
    assert not manifest.has_room_for_notes
    assert manifest.collections[0].rows == 5
    assert read_notes(tmp_path / "restored") == ({}, {})
    rewrite(tmp_path / "backup", lambda values: values.update(format=4))
    with pytest.raises(SetupError, match=r"has format 4\.2"):
        restore(tmp_path / "backup", tmp_path / "newer")


def test_a_backup_whose_notes_are_damaged_or_gone_is_refused_and_the_data_left(noted, tmp_path):
    _, source = noted
    used = tmp_path / "used"
    restore(source, used)
    write_notes(used, version=3)
    before = read_notes(used)
    whole = (source / "notes.sqlite").read_bytes()
    for place in range(0, len(whole), len(whole) // 7):
        (source / "notes.sqlite").write_bytes(
            whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]
        )
        assert not verify_backup(source).is_sound
        with pytest.raises(SetupError, match="damaged"):
            restore(source, used, is_replacing=True)
    (source / "notes.sqlite").unlink()
    assert not verify_backup(source).is_sound
    with pytest.raises(SetupError, match="cannot restore"):
        restore(source, used, is_replacing=True)
    assert read_notes(used) == before
    assert not [name for name in os.listdir(used) if "restoring" in name]


def test_notes_that_were_damaged_when_they_were_backed_up_are_told_and_no_hindrance(home, tmp_path):
    home.put(home.create(), range(5))
    write_notes(home.directory)
    database = apsw.Connection(str(home.directory / "notes.sqlite"))
    database.execute("UPDATE notes SET crc = crc + 1 WHERE kind = 'map'")
    database.execute("UPDATE aliases SET collection = 'other' WHERE name = 'live'")
    database.close()
    survey = backup(home.directory, tmp_path / "backup").notes.survey
    assert (survey.aliases, survey.entries, survey.damaged) == (1, 1, 2)
    assert survey.findings == (
        "note 'old' of kind 'map' of collection 'faces' is damaged",
        "alias 'live' is damaged",
    )
    for found in (verify_backup(tmp_path / "backup"), verify(home.directory)):
        assert found.notes == survey
        assert not found.is_sound
    restore(tmp_path / "backup", tmp_path / "restored")
    with Notes(tmp_path / "restored") as notes:
        assert notes.get("faces", "curve", "main") == b"\1" * 5000


def test_an_alias_in_a_backup_is_of_a_collection_that_is_in_it(tmp_path):
    directory, is_over = tmp_path / "data", threading.Event()
    with EmbeddedStore(directory) as store, Notes(directory) as notes:

        def turn(number):
            store.create(CollectionSpec(f"c{number}", SPACE, 4))
            notes.set_aliases({"live": f"c{number}"})
            if number:
                store.drop(f"c{number - 1}")

        def work():
            number = 1
            while not is_over.is_set():
                turn(number)
                number += 1

        turn(0)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            targets = set()
            while len(targets) < 4:
                backup(directory, tmp_path / f"backup{len(targets)}")
                restore(tmp_path / f"backup{len(targets)}", tmp_path / f"again{len(targets)}")
                manifest = read_manifest(tmp_path / f"backup{len(targets)}")
                alias = read_notes(tmp_path / f"again{len(targets)}")[1]["live"]
                assert alias in {one.name for one in manifest.collections}
                targets.add(len(targets))
        finally:
            is_over.set()
            thread.join()


def change(directory):
    """Makes a directory another one than its backup."""
    write_notes(directory, version=3)
    with EmbeddedStore(directory) as store:
        store.ensure(CollectionSpec("later", SPACE, 4))


def state_of(directory):
    with EmbeddedStore(directory) as store:
        names = {info.spec.name for info in store.collections()}
    return names, read_notes(directory)


def test_a_restore_that_is_killed_anywhere_leaves_the_old_the_new_or_a_refusal(
    noted, tmp_path, monkeypatch
):
    _, source = noted
    used = tmp_path / "used"
    restore(source, used)
    new = state_of(used)
    change(used)
    old = state_of(used)
    calls = (restoring, "fsync_directory"), (Path, "rename"), (Path, "unlink")
    process = Steps(monkeypatch, *calls)
    refused, steps, is_done = 0, 0, False
    while not is_done:
        steps += 1
        is_done = process.is_done(lambda: restore(source, used, is_replacing=True), steps)
        try:
            found = state_of(used)
        except SetupError as error:
            assert "restore" in str(error)  # noqa: PT017 - a refusal is one of three outcomes
            refused += 1
            restore(source, used)
            found = state_of(used)
        assert found in (old, new)
        change(used)
    assert steps > 8
    assert refused > 4


def test_a_damaged_backup_does_not_open_a_directory_whose_restore_was_cut_off(
    noted, tmp_path, monkeypatch
):
    _, source = noted
    used = tmp_path / "used"
    restore(source, used)

    def die(point):
        if point == "restore.before_rename":
            raise Killed

    monkeypatch.setattr(restoring, "crash_point", die)
    with pytest.raises(Killed):
        restore(source, used, is_replacing=True)
    monkeypatch.undo()
    whole = (source / "vectors.sqlite").read_bytes()
    (source / "vectors.sqlite").write_bytes(whole[:-1])
    with pytest.raises(SetupError, match="damaged"):
        restore(source, used)
    with pytest.raises(SetupError, match="cut off"):
        EmbeddedStore(used)
    (source / "vectors.sqlite").write_bytes(whole)
    restore(source, used)
    assert read_notes(used)[1]["next"] == "faces1"
