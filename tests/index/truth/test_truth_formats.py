"""Formats of the database: what older ones become, and what stops them half-way."""

import os
import subprocess
import sys
from pathlib import Path

import apsw
import numpy as np
import pytest
from killing import Steps

from kokeshi.errors import InvalidRequestError, SetupError
from kokeshi.index import migration
from kokeshi.index.incoming import digest, new_rows
from kokeshi.index.reads import row_span
from kokeshi.index.rows import DamagedRowError
from kokeshi.index.truth import Truth
from kokeshi.index.verify import verify

NAME = '"name":"こけし"'


def check_faces(truth, number):
    """What both golden databases hold without a tenant in the collection faces."""
    stored = {one.name: one for one in truth.collections()}
    spec = stored["faces"].read_spec()
    assert (spec.dim, spec.dimensions, spec.model) == (8, (4, 8), "doll")
    assert stored["flats"].read_spec().durability == "os"
    faces, flats = stored["faces"].number, stored["flats"].number
    rows = {}
    for row in truth.page(faces, (0, 0), 100):
        rows[row.id] = (row.metadata.decode(), row.vector.tobytes(), row.tenant, row.origin)
    expected = {
        f"id{n}": (f'{{"number":{n},{NAME}}}', number(n).tobytes(), "", "")
        for n in range(30)
        if n not in {7, 8}
    }
    expected["id3"] = ('{"number":103}', number(103).tobytes(), "", "")
    assert rows == expected
    assert list(rows)[-1] == "id3", "rows stand in the order of writing"
    flat = truth.by_ids(flats, ["ünïcode/ид", "nested"])
    assert flat["nested"].metadata == b'{"a":{"b":[1,2.5,null,true]}}'
    assert flat["ünïcode/ид"].vector.tobytes() == number(1).tobytes()
    return faces


def first_request(number):
    numbers = range(30)
    said = [f'{{"number":{n},{NAME}}}'.encode() for n in numbers]
    vectors = np.stack([number(n) for n in numbers])
    return new_rows([f"id{n}" for n in numbers], said, [""] * 30, vectors)


def test_the_golden_database_of_format_2_opens(golden, new_home, number):
    directory = golden(2)
    before = (directory / "vectors.sqlite").read_bytes()
    assert verify(directory).is_sound
    assert (directory / "vectors.sqlite").read_bytes() == before
    assert sorted(os.listdir(directory)) == ["vectors.sqlite"]
    home = new_home(directory)
    faces = check_faces(home.truth, number)
    shop = home.truth.by_ids(faces, [f"id{n}" for n in range(9)], tenant="shop")
    assert len(shop) == 5
    assert {row.origin for row in shop.values()} == {"00000000000000aa"}
    known = home.run(lambda: home.truth.replayed(faces, "first", digest(first_request(number))))
    assert (known.seq, known.count) == (1, 30)


def test_the_golden_database_of_format_1_becomes_one_of_format_2(golden, new_home, number):
    directory = golden(1)
    old = (directory / "vectors.sqlite").read_bytes()
    home = new_home(directory)
    faces = check_faces(home.truth, number)
    assert (directory / "vectors.sqlite.v1").read_bytes() == old
    known = home.run(lambda: home.truth.replayed(faces, "first", digest(first_request(number))))
    assert (known.seq, known.count) == (1, 30)
    with pytest.raises(InvalidRequestError):
        home.run(lambda: home.truth.replayed(faces, "second", b"another"))
    used = home.truth.row_numbers(faces, *row_span(faces)).tolist()
    written = home.put(faces, [40])
    assert written.seq == 4
    assert written.rows[0] > max(used)
    assert home.create("new") == 4, "2 was dropped, 3 is there"
    home.close()
    assert verify(directory).is_sound


def test_the_old_database_is_kept_until_the_next_good_start(golden, new_home):
    directory = golden(1)
    new_home(directory).close()
    assert (directory / "vectors.sqlite.v1").exists()
    new_home(directory).close()
    assert sorted(os.listdir(directory)) == ["vectors.sqlite"]


LEAVE_A_LOG = """
import apsw, os, sys
database = apsw.Connection(sys.argv[1])
database.execute("INSERT INTO collections (name, spec, crc, seq) VALUES ('late', x'7b7d', 0, 0)")
os.kill(os.getpid(), 9)
"""


def test_a_log_that_a_killed_process_left_is_migrated_too(golden, number):
    directory = golden(1)
    path = directory / "vectors.sqlite"
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, str(path)], check=False)
    assert (directory / "vectors.sqlite-wal").stat().st_size
    truth = Truth(directory)
    assert [one.name for one in truth.collections()] == ["faces", "flats", "late"]
    check_faces(truth, number)
    truth.close()


@pytest.mark.parametrize(
    "change",
    ["metadata = x'7b7d20'", "vector = zeroblob(32)", "seq = seq + 1", "crc = crc + 1"],
)
def test_a_damaged_row_is_damaged_after_a_migration_too(golden, change, new_home):
    directory = golden(1)
    database = apsw.Connection(str(directory / "vectors.sqlite"))
    database.execute(f"UPDATE items SET {change} WHERE id = 'id5'")
    database.close()
    home = new_home(directory)
    with pytest.raises(DamagedRowError, match="checksum"):
        home.all_of(1)
    assert len(home.all_of(3)) == 2


def test_damaged_settings_are_damaged_after_a_migration_too(golden, new_home):
    directory = golden(1)
    database = apsw.Connection(str(directory / "vectors.sqlite"))
    database.execute("UPDATE collections SET crc = crc + 1 WHERE name = 'faces'")
    database.close()
    faces, flats = new_home(directory).truth.collections()
    with pytest.raises(DamagedRowError, match="settings"):
        faces.read_spec()
    assert flats.read_spec().name == "flats"


@pytest.mark.parametrize("error", [apsw.FullError("full"), apsw.IOError("failed")])
def test_a_disk_that_fails_a_migration_leaves_the_old_database(golden, disk, error):
    directory = golden(1)
    before = (directory / "vectors.sqlite").read_bytes()
    disk.failing["write", "sqlite.new"] = error
    with pytest.raises(SetupError, match="left as it was"):
        Truth(directory)
    assert disk.failures
    assert sorted(os.listdir(directory)) == ["vectors.sqlite"]
    assert (directory / "vectors.sqlite").read_bytes() == before
    disk.failing.clear()
    Truth(directory).close()


@pytest.fixture
def migrating(monkeypatch):
    """A process whose steps are to copy a row, change a name or sync."""
    return Steps(
        monkeypatch,
        (migration, "fsync_file"),
        (migration, "fsync_directory"),
        (migration.format_1, "seal_head"),
        (os, "link"),
        (Path, "rename"),
        (Path, "unlink"),
    )


def test_a_migration_that_is_killed_anywhere_leaves_one_good_database(golden, migrating, number):
    directory = golden(1)
    original = (directory / "vectors.sqlite").read_bytes()
    is_done, steps = False, 0
    while not is_done:
        steps += 1 if steps < 2 or steps > 28 else 9  # most steps are rows
        for path in directory.iterdir():
            path.unlink()
        (directory / "vectors.sqlite").write_bytes(original)
        is_done = migrating.is_done(lambda: Truth(directory).close(), steps)
        truth = Truth(directory)
        check_faces(truth, number)
        truth.close()
    assert steps > 35, "30 rows and the steps after them"


def test_a_newer_format_is_refused_and_left_as_it_is(golden):
    directory = golden(2)
    database = apsw.Connection(str(directory / "vectors.sqlite"))
    database.execute("UPDATE schema_version SET version = 3")
    database.close()
    before = (directory / "vectors.sqlite").read_bytes()
    with pytest.raises(SetupError, match="has format 3"):
        Truth(directory)
    assert sorted(os.listdir(directory)) == ["vectors.sqlite"]
    assert (directory / "vectors.sqlite").read_bytes() == before


def test_a_directory_that_takes_no_files_is_left_as_it_is(golden):
    directory = golden(1)
    blocked = directory / "vectors.sqlite.new"
    blocked.mkdir()  # as root no mode of a directory refuses a file
    (blocked / "file").touch()
    before = (directory / "vectors.sqlite").read_bytes()
    with pytest.raises(SetupError, match="left as it was"):
        migration.migrate(directory, 1)
    assert (directory / "vectors.sqlite").read_bytes() == before
