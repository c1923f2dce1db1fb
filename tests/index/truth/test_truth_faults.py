"""Disks that fill up or fail, damaged pages, second processes, network file systems."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from kokeshi.errors import OverloadedError, SetupError, UnavailableError
from kokeshi.index.lock import DirectoryLock, file_system_of
from kokeshi.index.rows import DamagedRowError
from kokeshi.index.truth import Truth
from kokeshi.index.verify import verify

LOG = "sqlite-wal"


def test_a_full_disk_refuses_writes_until_there_is_space(tmp_path, disk, new_home):
    home = new_home(tmp_path)
    faces = home.create()
    home.put(faces, range(10))
    disk.failing["write", LOG] = apsw.FullError("full")
    for _ in range(3):
        with pytest.raises(OverloadedError, match="disk is full"):
            home.put(faces, range(10, 20))
    assert len(home.all_of(faces)) == 10
    assert home.writer.is_writable
    disk.failing.clear()
    assert home.put(faces, range(10, 20)).seq == 2, "a refused write took no number"
    assert len(home.all_of(faces)) == 20
    home.close()
    assert verify(tmp_path).is_sound


@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_failed_disk_stops_writes_until_the_next_start_and_reads_go_on(
    tmp_path, disk, new_home, call
):
    home = new_home(tmp_path)
    faces = home.create()
    home.put(faces, range(10))
    disk.failing[call, LOG] = apsw.IOError("failed")
    with pytest.raises(UnavailableError, match="the disk failed"):
        home.put(faces, range(10, 20))
    disk.failing.clear()
    with pytest.raises(UnavailableError, match="writes have stopped"):
        home.put(faces, range(20, 30))
    assert not home.writer.is_writable
    assert len(home.all_of(faces)) == 10
    home.close()
    assert (tmp_path / "vectors.sqlite-wal").exists(), "what the disk may have lost is kept"
    again = new_home(tmp_path)
    there = {number for _, number in again.all_of(faces)}
    wanted = {f"id{n}" for n in range(10)}
    # what was never acknowledged is there as a whole or not at all
    assert there in (wanted, wanted | {f"id{n}" for n in range(10, 20)})
    again.put(faces, range(20, 30))
    again.close()
    assert verify(tmp_path).is_sound


def test_no_waiting_write_is_acknowledged_after_a_failed_sync(tmp_path, disk, new_home):
    home = new_home(tmp_path)
    faces = home.create()
    outcomes = []

    def write(n):
        try:
            outcomes.append(home.put(faces, [n]).seq)
        except UnavailableError as error:
            outcomes.append(str(error))

    with home.writer.gate:  # they pile up behind one commit
        clients = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for client in clients:
            client.start()
        disk.failing["sync", LOG] = apsw.IOError("failed")
    for client in clients:
        client.join()
    assert outcomes == ["writes have stopped: the disk failed"] * 8


def test_a_disk_that_fails_a_checkpoint_stops_writes_and_loses_nothing(tmp_path, disk, new_home):
    home = new_home(tmp_path, quiet_s=30.0)
    faces = home.create(dim=2048)
    disk.failing["sync", "vectors.sqlite"] = apsw.IOError("failed")
    kept = -1
    with contextlib.suppress(UnavailableError):
        for version in range(100):
            home.put(faces, range(200), version=version, dim=2048)
            kept = version
    assert 0 <= kept < 99
    assert not home.writer.is_writable
    assert disk.failures == 1, "a second try could succeed and mean nothing"
    disk.failing.clear()
    home.close()
    again = new_home(tmp_path)
    rows = again.all_of(faces)
    assert len(rows) == 200
    assert {row.metadata for row in rows.values()} == {b'{"version":%d}' % kept}


def test_a_full_disk_at_a_checkpoint_is_no_hindrance(tmp_path, disk, new_home):
    home = new_home(tmp_path)
    faces = home.create(dim=2048)
    disk.failing["write", "vectors.sqlite"] = apsw.FullError("full")
    for version in range(12):
        home.put(faces, range(200), version=version, dim=2048)
    assert disk.failures
    assert home.writer.is_writable
    disk.failing.clear()
    assert len(home.all_of(faces)) == 200


def flip_page_of(path, table, marker):
    """Overwrites the page on which a marker stands."""
    content = bytearray(path.read_bytes())
    place = content.find(marker)
    assert place > 0, f"no {marker!r} in {table}"
    page = place // 16384 * 16384
    content[page : page + 16384] = os.urandom(16384)
    path.write_bytes(content)


@pytest.fixture
def damaged(tmp_path, new_home, number):
    """A directory of two collections, of which a page of the first one's vectors is gone."""
    home = new_home(tmp_path)
    for name in ("faces", "other"):
        collection = home.create(name)
        home.put(collection, range(2000), tenant=name)
    home.close()
    flip_page_of(home.path, "vectors", number(700).tobytes())
    return tmp_path


def test_a_damaged_page_leaves_the_other_collections(damaged, new_home):
    home = new_home(damaged)
    faces, other = home.truth.collections()
    assert len(home.all_of(other.number)) == 2000
    with pytest.raises(DamagedRowError, match=r"malformed|checksum|missing"):
        home.all_of(faces.number)
    with pytest.raises(UnavailableError, match="malformed"):
        home.put(other.number, range(3))


def test_a_check_of_a_damaged_database_names_the_collection(damaged):
    before = (damaged / "vectors.sqlite").read_bytes()
    found = verify(damaged)
    assert not found.is_sound
    faces, other = found.collections
    assert (other.rows, other.damaged, other.findings) == (2000, 0, ())
    assert faces.findings
    assert faces.rows < 2000
    assert found.findings, "SQLite's own check finds it too"
    assert (damaged / "vectors.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        (b"origin TEXT", b"orifin TEXT"),
        (b"origin TEXT", b"\xefrigin TEXT"),
        (b"WHERE tenant <> ''", b"WHERE tenant >> ''"),
        (b"items_by_tenant", b"items_by_tenanu"),
    ],
)
def test_a_bit_that_turned_in_the_text_of_a_table_or_an_index_is_noticed(
    tmp_path, new_home, text, turned
):
    home = new_home(tmp_path)
    home.put(home.create(), range(10))
    home.close()
    path = tmp_path / "vectors.sqlite"
    whole = path.read_bytes()
    assert text in whole
    path.write_bytes(whole.replace(text, turned))
    with pytest.raises(SetupError, match=r"vectors\.sqlite"):
        Truth(tmp_path)
    assert not verify(tmp_path).is_sound
    path.write_bytes(whole.replace(b"-- that live", b"-- that died"))
    Truth(tmp_path).close()


def test_a_large_database_is_not_read_whole_at_a_start(damaged):
    truth = Truth(damaged, check_bytes=1000)
    assert truth.refusal is None
    truth.close()


def test_a_row_that_vanished_is_noticed_by_a_check(tmp_path, new_home):
    home = new_home(tmp_path)
    home.put(home.create(), range(5))
    home.close()
    assert verify(tmp_path).is_sound
    database = apsw.Connection(str(home.path))
    database.execute("DELETE FROM items WHERE id = 'id3'")
    database.close()
    found = verify(tmp_path)
    assert "has 4 rows, expected 5" in found.collections[0].findings
    assert any("vectors" in finding for finding in found.findings)


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path):
    script = (
        "import sys; from pathlib import Path; from kokeshi.index.lock import DirectoryLock;"
        "lock = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(SetupError, match=f"in use by process {process.pid} on "):
            DirectoryLock(tmp_path)
        process.kill()
    DirectoryLock(tmp_path).release()


MOUNTS = """\
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 0:30 / /mnt/share rw,relatime shared:2 - nfs4 server:/export rw
29 27 0:31 / /mnt/with\\040blank rw - fuse.sshfs user@server:/ rw
30 28 254:2 / /mnt/share/local rw - xfs /dev/vdb rw
"""


def test_the_file_system_of_a_directory_is_that_of_its_deepest_mount(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    for directory, kind in (
        ("/var/data", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/data/vectors", "nfs4"),
        ("/mnt/share/local/data", "xfs"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with blank/data", "fuse.sshfs"),
    ):
        assert file_system_of(Path(directory), mounts) == kind
    assert file_system_of(tmp_path, tmp_path / "absent") is None


def test_a_network_file_system_is_refused_unless_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("kokeshi.index.lock.file_system_of", lambda _: "nfs4")
    with pytest.raises(SetupError, match=r"network file system \(nfs4\)"):
        DirectoryLock(tmp_path / "data")
    DirectoryLock(tmp_path / "data", allow_network=True).release()
