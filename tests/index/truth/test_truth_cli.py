"""`kokeshi index backup`, `restore` and `verify` as commands."""

import apsw
import orjson
import pytest

from kokeshi.errors import SetupError
from kokeshi.index.notes import Notes


def test_a_backup_travels_to_another_directory(home, run, tmp_path):
    home.put(home.create(), range(7))
    made = orjson.loads(run("backup", tmp_path / "backup", "--data", home.directory, "--json"))
    assert made["collections"][0]["rows"] == 7
    assert "faces" in run("verify", tmp_path / "backup")
    assert "faces" in run("restore", tmp_path / "backup", "--data", tmp_path / "new")
    with pytest.raises(SetupError, match="not empty"):
        run("restore", tmp_path / "backup", "--data", tmp_path / "new")
    run("restore", tmp_path / "backup", "--data", tmp_path / "new", "--replace")
    assert "faces" in run("verify", "--data", tmp_path / "new")


def test_notes_that_are_backed_up_are_told_and_so_are_those_that_are_damaged(home, run, tmp_path):
    home.put(home.create(), range(7))
    with Notes(home.directory) as notes:
        notes.set_aliases({"live": "faces"})
        notes.put("faces", "map", "old", [1])
        notes.put("faces", "curve", "main", [2])
    told = "aliases: 1; fitted models, curves and other notes: 2"
    assert told in run("backup", tmp_path / "backup", "--data", home.directory)
    assert told in run("restore", tmp_path / "backup", "--data", tmp_path / "new")
    database = apsw.Connection(str(tmp_path / "new" / "notes.sqlite"))
    database.execute("UPDATE aliases SET collection = 'other'")
    database.close()
    with pytest.raises(SetupError, match="damaged"):
        run("verify", "--data", tmp_path / "new")


def test_damage_is_told_and_ends_with_an_error(home, run):
    home.put(home.create(), range(7))
    database = apsw.Connection(str(home.path))
    database.execute("UPDATE items SET metadata = x'7b7d' WHERE id = 'id3'")
    database.close()
    with pytest.raises(SetupError, match="damaged"):
        run("verify", "--data", home.directory)
