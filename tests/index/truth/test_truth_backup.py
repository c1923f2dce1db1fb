"""Backups while eight threads write, restores, and both cut off half-way."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest
from killing import Steps
from waiting import wait_for

from kokeshi.errors import SetupError
from kokeshi.index import restore as restoring
from kokeshi.index.backup import backup, verify_backup
from kokeshi.index.lock import DirectoryLock
from kokeshi.index.manifest import read_manifest
from kokeshi.index.restore import restore
from kokeshi.index.truth import Truth
from kokeshi.index.verify import verify


class Clients:
    """Eight threads that write, and what was acknowledged to each."""

    def __init__(self, home, collection):
        self.home, self.collection = home, collection
        self.acknowledged = [0] * 8  # versions of each client's five items
        self.begun = [0] * 8
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(n,)) for n in range(8)]

    def write(self, client):
        version = 0
        while not self.is_over.is_set():
            version += 1
            self.begun[client] = version
            self.home.put(self.collection, range(5), tenant=str(client), version=version)
            self.acknowledged[client] = version

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def versions_in(directory, number):
    """Version per client; fails where a write is there in part or a vector is another's."""
    truth = Truth(directory)
    rows = [row for chunk in truth.newer(1, 0, 1000) for row in chunk]
    seq = truth.collections()[0].seq
    truth.close()
    versions = {}
    for row in rows:
        version = int(row.metadata[11:-1])
        assert row.vector.tobytes() == number(int(row.id[2:]) + 1000 * version).tobytes()
        versions.setdefault(int(row.tenant), set()).add(version)
    assert len(rows) == 5 * len(versions)
    assert all(len(found) == 1 for found in versions.values()), versions
    assert max(row.seq for row in rows) <= seq
    return {client: found.pop() for client, found in versions.items()}


def test_a_backup_under_writes_holds_all_that_was_acknowledged_before_it(home, tmp_path, number):
    faces = home.create()
    with Clients(home, faces) as clients:
        wait_for(lambda: all(clients.acknowledged))
        for turn in range(3):
            before = list(clients.acknowledged)
            manifest = backup(home.directory, tmp_path / f"backup{turn}", step_pages=3)
            after = list(clients.begun)
            restore(tmp_path / f"backup{turn}", tmp_path / f"restored{turn}")
            found = versions_in(tmp_path / f"restored{turn}", number)
            assert manifest.collections[0].rows == 40
            for client in range(8):
                assert before[client] <= found[client] <= after[client]
    assert verify(home.directory).is_sound


@pytest.fixture
def backed_up(home, tmp_path):
    """(data directory, its backup) of two collections, the data one write ahead."""
    faces, other = home.create(), home.create("other")
    home.put(faces, range(300), tenant="a")
    home.put(other, range(10))
    backup(home.directory, tmp_path / "backup")
    home.put(other, range(10, 20))
    return home.directory, tmp_path / "backup"


def test_a_backup_says_what_it_holds(backed_up):
    manifest = read_manifest(backed_up[1])
    assert [(one.name, one.rows, one.seq) for one in manifest.collections] == [
        ("faces", 300, 1),
        ("other", 10, 1),
    ]
    assert verify_backup(backed_up[1]).is_sound
    assert sorted(os.listdir(backed_up[1])) == ["manifest.json", "vectors.sqlite"]


def test_two_restores_give_the_same_and_leave_the_backup_as_it_is(backed_up, tmp_path):
    _, source = backed_up
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    for name in ("one", "two"):
        restore(source, tmp_path / name)
    restore(source, tmp_path / "two", is_replacing=True)
    databases = [(tmp_path / name / "vectors.sqlite").read_bytes() for name in ("one", "two")]
    assert databases[0] == databases[1] == before["vectors.sqlite"]
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_restored_directory_is_written_to_like_any_other(backed_up, tmp_path, new_home):
    restore(backed_up[1], tmp_path / "again")
    home = new_home(tmp_path / "again")
    assert len(home.all_of(2)) == 10
    assert home.put(2, [50]).seq == 2


def test_a_directory_that_holds_something_is_not_restored_into(backed_up, tmp_path):
    _, source = backed_up
    directory = tmp_path / "full"
    restore(source, directory)
    with pytest.raises(SetupError, match="not empty"):
        restore(source, directory)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    with pytest.raises(SetupError, match=r"letter\.txt"):
        restore(source, tmp_path / "letters")
    assert (tmp_path / "letters" / "letter.txt").read_text() == "dear"


def test_a_restore_drops_index_files_and_the_log_of_what_it_replaces(backed_up, tmp_path):
    _, source = backed_up
    directory = tmp_path / "used"
    restore(source, directory)
    (directory / "indexes" / "1").mkdir(parents=True)
    (directory / "indexes" / "1" / "manifest.json").write_text("of another time")
    (directory / "vectors.sqlite-wal").write_bytes(b"of another database")
    restore(source, directory, is_replacing=True)
    assert sorted(os.listdir(directory)) == ["lock", "vectors.sqlite"]
    assert verify(directory).is_sound


def test_a_directory_in_use_is_not_restored_into(backed_up):
    directory, source = backed_up
    with DirectoryLock(directory), pytest.raises(SetupError, match="in use"):
        restore(source, directory, is_replacing=True)


@pytest.mark.parametrize("name", ["vectors.sqlite", "manifest.json"])
def test_a_damaged_backup_is_refused_and_the_data_left(backed_up, tmp_path, name):
    _, source = backed_up
    directory = tmp_path / "used"
    restore(source, directory)
    before = (directory / "vectors.sqlite").read_bytes()
    size = (source / name).stat().st_size
    for place in range(0, size, size // 7):
        content = bytearray((source / name).read_bytes())
        content[place] ^= 16
        (source / name).write_bytes(content)
        with pytest.raises(SetupError, match="damaged"):
            restore(source, directory, is_replacing=True)
        if name == "vectors.sqlite":
            assert not verify_backup(source).is_sound
        content[place] ^= 16
        (source / name).write_bytes(content)
    assert (directory / "vectors.sqlite").read_bytes() == before
    assert sorted(os.listdir(directory)) == ["lock", "vectors.sqlite"]


def test_what_was_damaged_when_it_was_backed_up_is_told_and_no_hindrance(home, tmp_path):
    faces, other = home.create(), home.create("other")
    home.put(faces, range(10))
    home.put(other, range(10))
    database = apsw.Connection(str(home.path))
    database.execute("UPDATE items SET crc = crc + 1 WHERE row = (SELECT min(row) FROM items)")
    database.close()
    manifest = backup(home.directory, tmp_path / "backup")
    assert [one.damaged for one in manifest.collections] == [1, 0]
    assert not verify_backup(tmp_path / "backup").is_sound
    restore(tmp_path / "backup", tmp_path / "restored")
    assert [one.damaged for one in verify(tmp_path / "restored").collections] == [1, 0]


def test_a_target_that_holds_something_and_a_directory_without_data_are_refused(
    backed_up, tmp_path
):
    directory, source = backed_up
    with pytest.raises(SetupError, match="not an empty directory"):
        backup(directory, source)
    with pytest.raises(SetupError, match="no database"):
        backup(tmp_path, tmp_path / "new")
    with pytest.raises(SetupError, match="no backup"):
        restore(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_no_backup(backed_up, disk, tmp_path):
    disk.failing["write", "vectors.sqlite"] = apsw.FullError("full")
    with pytest.raises(SetupError, match="cannot back up"):
        backup(backed_up[0], tmp_path / "second")
    disk.failing.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]


def test_a_backup_that_is_killed_leaves_nothing_that_looks_whole(backed_up, tmp_path):
    directory, _ = backed_up
    script = (
        "import os, sys; from pathlib import Path; from kokeshi.index.backup import backup;"
        "backup(Path(sys.argv[1]), Path(sys.argv[2]), step_pages=1,"
        " progress=lambda share: share > 0.5 and os.kill(os.getpid(), 9))"
    )
    target = tmp_path / "second"
    done = subprocess.run([sys.executable, "-c", script, str(directory), str(target)], check=False)
    assert done.returncode == -9
    assert not target.exists()
    with pytest.raises(SetupError, match="no backup"):
        restore(tmp_path / "second.partial", tmp_path / "restored")
    backup(directory, target)
    assert verify_backup(target).is_sound
    assert not (tmp_path / "second.partial").exists()


def test_a_restore_that_is_killed_anywhere_leaves_the_old_the_new_or_a_refusal(
    backed_up, tmp_path, monkeypatch, number
):
    _, source = backed_up
    directory = tmp_path / "used"
    calls = (restoring, "fsync_directory"), (Path, "rename"), (Path, "unlink")
    process = Steps(monkeypatch, *calls)
    refused, steps, is_done = 0, 0, False
    while not is_done:
        restore(source, directory, is_replacing=True)
        truth = Truth(directory)
        truth.writing.execute("DELETE FROM vectors WHERE row % 2")  # the old is told by its loss
        truth.close()
        steps += 1
        is_done = process.is_done(lambda: restore(source, directory, is_replacing=True), steps)
        try:
            Truth(directory).close()
        except SetupError as error:
            assert "restore" in str(error)  # noqa: PT017 - a refusal is one of three outcomes
            refused += 1
            restore(source, directory)
            assert verify(directory).is_sound
    assert steps > 5
    assert refused
