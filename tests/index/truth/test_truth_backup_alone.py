"""Backups of notes alone, where another engine keeps the vectors."""

import json
import os
import threading
from pathlib import Path

import pytest
from killing import Steps

from kokeshi.errors import SetupError
from kokeshi.index import notes_alone
from kokeshi.index.backup import backup, verify_backup
from kokeshi.index.manifest import read_manifest
from kokeshi.index.notes import Notes
from kokeshi.index.restore import restore


def write_notes(directory, version=1):
    with Notes(directory) as notes:
        notes.put("faces", "map", "old", {"version": version})
        notes.put("faces", "curve", "main", bytes([version]) * 5000)
        notes.set_aliases({"live": f"faces{version}"})


def read_notes(directory):
    with Notes(directory) as notes:
        there = [(one.collection, one.kind, one.name) for one in notes.list()]
        return {key: notes.get(*key) for key in there}, notes.aliases()


@pytest.fixture
def noted(tmp_path):
    """(data directory, its backup), the notes of the data one write ahead."""
    directory = tmp_path / "data"
    write_notes(directory)
    backup(directory, tmp_path / "backup", notes_alone=True)
    write_notes(directory, version=2)
    return directory, tmp_path / "backup"


@pytest.fixture
def run(run, monkeypatch):
    """The commands on a server whose collections a Milvus keeps."""
    monkeypatch.setenv("KOKESHI_STORE", "milvus://localhost:19530")
    return run


def test_a_backup_of_notes_holds_them_and_says_that_there_are_no_vectors(noted):
    directory, source = noted
    manifest = read_manifest(source)
    assert sorted(os.listdir(source)) == ["manifest.json", "notes.sqlite"]
    assert (manifest.has_vectors, manifest.collections, manifest.bytes) == (False, (), 0)
    assert (manifest.notes.survey.aliases, manifest.notes.survey.entries) == (1, 2)
    assert verify_backup(source).is_sound
    assert read_notes(directory)[1] == {"live": "faces2"}


def test_notes_are_backed_up_while_a_server_writes_them(tmp_path):
    is_over = threading.Event()
    with Notes(tmp_path / "data") as notes:
        notes.put("faces", "curve", "c0", 0)

        def write():
            number = 1
            while not is_over.is_set():
                notes.put("faces", "curve", f"c{number}", number)
                number += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for turn in range(3):
                backup(tmp_path / "data", tmp_path / f"b{turn}", notes_alone=True)
        finally:
            is_over.set()
            thread.join()
    for turn in range(3):
        assert verify_backup(tmp_path / f"b{turn}").is_sound
        restore(tmp_path / f"b{turn}", tmp_path / f"again{turn}")
        entries = read_notes(tmp_path / f"again{turn}")[0]
        assert sorted(entries.values()) == list(range(len(entries)))


def test_notes_come_back_and_what_is_beside_them_stays(noted, tmp_path):
    directory, source = noted
    write_notes(tmp_path / "same")
    restore(source, tmp_path / "new")
    assert read_notes(tmp_path / "new") == read_notes(tmp_path / "same")
    (directory / "vectors.sqlite").write_bytes(b"of an earlier time")
    with pytest.raises(SetupError, match="has notes"):
        restore(source, directory)
    restore(source, directory, is_replacing=True)
    assert read_notes(directory) == read_notes(tmp_path / "same")
    assert (directory / "vectors.sqlite").read_bytes() == b"of an earlier time"


def test_notes_that_a_server_has_open_are_not_replaced(noted):
    directory, source = noted
    with Notes(directory) as notes:
        with pytest.raises(SetupError, match="in use"):
            restore(source, directory, is_replacing=True)
        assert notes.resolve("live") == "faces2"
        notes.set_aliases({"next": "faces"})
    assert read_notes(directory)[1] == {"live": "faces2", "next": "faces"}
    restore(source, directory, is_replacing=True)
    assert read_notes(directory)[1] == {"live": "faces1"}


def test_notes_that_are_damaged_may_be_replaced_and_a_damaged_backup_replaces_nothing(noted):
    directory, source = noted
    (directory / "notes.sqlite").write_bytes(b"no database" * 1000)
    (directory / "notes.sqlite-wal").write_bytes(b"of another file")
    restore(source, directory, is_replacing=True)
    assert read_notes(directory)[1] == {"live": "faces1"}
    write_notes(directory, version=3)
    whole = (source / "notes.sqlite").read_bytes()
    (source / "notes.sqlite").write_bytes(whole[:-1])
    assert not verify_backup(source).is_sound
    with pytest.raises(SetupError, match="damaged"):
        restore(source, directory, is_replacing=True)
    assert read_notes(directory)[1] == {"live": "faces3"}
    assert not [name for name in os.listdir(directory) if "restoring" in name]


def test_a_restore_of_notes_that_is_killed_leaves_the_old_or_the_new(noted, monkeypatch):
    directory, source = noted
    calls = (notes_alone, "fsync_directory"), (Path, "rename"), (Path, "unlink")
    process = Steps(monkeypatch, *calls)
    outcomes, steps, is_done = set(), 0, False
    while not is_done:
        steps += 1
        write_notes(directory, version=2)
        is_done = process.is_done(lambda: restore(source, directory, is_replacing=True), steps)
        outcomes.add((read_notes(directory)[1]["live"], is_done))
    assert outcomes == {("faces2", False), ("faces1", False), ("faces1", True)}


def test_without_notes_or_with_vectors_here_nothing_is_taken_for_a_backup(noted, tmp_path):
    directory, _ = noted
    with pytest.raises(SetupError, match="no notes in"):
        backup(tmp_path / "nothing", tmp_path / "none", notes_alone=True)
    # a lost database is no reason to call its notes a backup
    with pytest.raises(SetupError, match=r"no database in .* name it as the store"):
        backup(directory, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_commands_tell_that_vectors_are_elsewhere(noted, run, tmp_path):
    directory, _ = noted
    told = run("backup", tmp_path / "kept", "--data", directory)
    assert "notes alone: the vectors are in another engine" in told
    assert "aliases: 1; fitted models, curves and other notes: 2" in told
    assert "aliases: 1" in run("verify", "--data", directory)
    assert "aliases: 1" in run("verify", tmp_path / "kept")
    assert "notes alone" in run("restore", tmp_path / "kept", "--data", tmp_path / "new")
    assert read_notes(tmp_path / "new") == read_notes(directory)
    made = json.loads(run("backup", tmp_path / "again", "--data", directory, "--json"))
    assert (made["sha256"], made["collections"]) == ("", [])
    with pytest.raises(SetupError, match="no notes in"):
        run("verify", "--data", tmp_path / "nothing")
