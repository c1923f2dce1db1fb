"""What the writer does in quiet moments: the log is folded, space is given back."""

import threading

from waiting import wait_for

from kokeshi.index.upkeep import Upkeep


def size_of(path):
    return path.stat().st_size


def test_disk_is_given_back_after_deletes(home):
    faces = home.create(dim=2048)
    for first in range(0, 4000, 1000):
        home.put(faces, range(first, first + 1000), dim=2048)
    wait_for(lambda: size_of(home.path) > 32 * 2**20)
    home.delete(faces, range(100, 4000))
    wait_for(lambda: size_of(home.path) < 8 * 2**20)
    assert len(home.all_of(faces)) == 100


def test_churn_leaves_the_file_bounded(home):
    faces = home.create(dim=512)
    home.put(faces, range(2000), dim=512)
    wait_for(lambda: size_of(home.path) > 4 * 2**20)
    first = size_of(home.path)
    for version in range(1, 11):
        for start in range(0, 2000, 500):
            home.delete(faces, range(start, start + 250))
            home.put(faces, range(start, start + 500), version=version, dim=512)
    wait_for(lambda: not home.writer._upkeep.is_due)
    assert size_of(home.path) < 1.5 * first
    assert len(home.all_of(faces)) == 2000


def test_the_log_is_folded_when_nothing_is_written(home):
    faces = home.create(dim=512)
    home.put(faces, range(1000), dim=512)
    wait_for(lambda: size_of(home.path) > 2 * 2**20)  # before, all of it is in the log


def test_an_acknowledgement_does_not_wait_for_a_checkpoint(new_home, tmp_path, monkeypatch):
    home = new_home(tmp_path / "data", quiet_s=30.0)
    is_acknowledged = threading.Event()
    waits = []
    monkeypatch.setattr(
        Upkeep, "_checkpoint", lambda _: waits.append(is_acknowledged.wait(timeout=10.0))
    )
    faces = home.create(dim=2048)
    home.put(faces, range(2500), dim=2048)  # 20 MiB: a checkpoint is due
    is_acknowledged.set()
    wait_for(lambda: waits)
    assert waits[0]
