"""Power cuts: what was not synced is dropped, reordered, torn or garbled."""

import random
import shutil
from contextlib import suppress

import apsw
import pytest
from faultkit.disk import Disk, survived
from faultkit.oracle import Ledger, check, read_all
from faultkit.power import Cuts, do, simulated, worked
from faultkit.watch import Event, watching
from faultkit.work import operation, small_tuning, spec

from kokeshi.errors import SetupError
from kokeshi.index import EmbeddedStore

FAMILY = "3 power cuts"


def check_cut(image, states, target, rng, note):
    """One state that the cut may leave: it opens, it is right, and it goes on."""
    image.restore(target, rng)
    with EmbeddedStore(target, small_tuning()) as store:
        state = check(store, states, note=note)
        ledger = Ledger()
        ledger.state = state
        for number in range(3):
            assert do(store, ledger, operation(10**6, number)), note
    with EmbeddedStore(target, small_tuning()) as store:
        assert read_all(store) == ledger.state, note
    shutil.rmtree(target)


@pytest.mark.parametrize("index", ["auto", "hnsw"])
def test_acknowledged_writes_survive_a_power_cut(tmp_path, seed, rng, rounds, tally, index):
    cuts, done = 0, 0
    for number in range(rounds(1, 40)):
        images, ledger = worked(
            tmp_path / f"{number}", seed + number, rng, 100, 0.008, {"index": index}
        )
        done += len(ledger.history)
        for image, then in images:
            for draw in range(rounds(1, 3)):
                cuts += 1
                note = f"seed {seed}, round {number}, cut {cuts}, draw {draw}"
                check_cut(image, then.possible(), tmp_path / f"cut{cuts}", rng, note)
    tally(rounds=cuts, operations=done)
    assert cuts > 5


def test_durability_os_loses_the_newest_writes_only(tmp_path, seed, rng, rounds, tally):
    cuts, lossy = 0, 0
    for number in range(rounds(1, 10)):
        images, _ = worked(
            tmp_path / f"{number}", seed + number, rng, 80, 0.01, {"durability": "os"}
        )
        for image, then in images:
            cuts += 1
            image.restore(tmp_path / f"cut{cuts}", rng)
            with EmbeddedStore(tmp_path / f"cut{cuts}", small_tuning()) as store:
                if any(info.spec.name == "faces" for info in store.collections()):
                    state = check(store, then.prefixes(), note=f"seed {seed}, cut {cuts}")
                    lossy += state != then.state
    tally(rounds=cuts)
    assert lossy, "no cut took anything: the simulator is blind"


class FailingSync(Cuts):
    """The n-th sync of a file fails, and the kernel forgets what was to be written."""

    def __init__(self, disk, ledger, count, kinds, name):
        super().__init__(disk, ledger, random.Random(0), 0.0)
        self.has_failed = False
        self._left = count
        self._kinds = kinds
        self._name = name

    def before(self, event):
        if event.kind not in self._kinds or not event.path.name.endswith(self._name):
            return
        self._left -= 1
        if self._left == 0:
            self.has_failed = True
            if event.kind == "sync":
                self._disk.lose(event.inode)
                raise apsw.IOError("the disk failed")
            raise OSError(5, "the disk failed")


@pytest.mark.parametrize(
    ("kinds", "name"), [(("sync",), "-wal"), (("sync",), ".sqlite"), (("fsync",), "")]
)
def test_nothing_is_acknowledged_on_the_strength_of_a_failed_sync(
    tmp_path, seed, rng, rounds, tally, kinds, name
):
    wanted = rounds(3, 60)
    for number in range(wanted):
        note = f"seed {seed}, round {number}"
        directory, ledger = tmp_path / f"{number}", Ledger()
        with simulated(directory) as disk:
            count = rng.randint(4, 40 if name == "-wal" else 9)
            failing = FailingSync(disk, ledger, count, kinds, name)
            # SQLite passes over an error while it closes; one of Python's comes out of `close`
            with watching(failing, directory), suppress(apsw.IOError, SetupError):
                work_past_the_failure(directory, seed + number, ledger, failing, note)
            failing.cut()
        assert failing.has_failed, note
        for image, then in failing.images:
            check_cut(image, then.possible(), tmp_path / f"cut{number}", rng, note)
    tally(rounds=wanted)


def work_past_the_failure(directory, seed, ledger, failing, note):
    with EmbeddedStore(directory, small_tuning()) as store:
        store.create(spec())
    for first in range(0, 60, 10):
        with EmbeddedStore(directory, small_tuning()) as store:
            for number in range(first, first + 10):
                if not do(store, ledger, operation(seed, number)):
                    return check_stopped(store, ledger, failing, note)
    return None


def check_stopped(store, ledger, failing, note):
    """No write is acknowledged after one that failed; reads go on, and do not show it."""
    assert failing.has_failed, note
    assert not store.stats().is_writable, note
    pending = ledger.pending
    assert not do(store, ledger, operation(ledger.pending.seed, 1000))
    ledger.pending = pending
    check(store, [ledger.state], note=note)
    failing.cut()


def test_the_simulator_keeps_what_was_synced_and_may_lose_the_rest(tmp_path):
    (tmp_path / "data").mkdir()
    disk = Disk(tmp_path / "data")
    path = tmp_path / "data" / "log"
    path.write_bytes(b"old")
    inode = path.stat().st_ino
    disk.after(Event("write", path, 0, b"synced", inode=inode))
    disk.after(Event("sync", path, inode=inode))
    disk.after(Event("write", path, 6, b" lost" * 1000, inode=inode))
    image = disk.image()
    seen = set()
    for draw in range(50):
        image.restore(tmp_path / f"{draw}", random.Random(draw))
        left = (tmp_path / f"{draw}" / "log").read_bytes()
        assert left.startswith(b"synced")
        seen.add(len(left))
    assert {6, 5006} < seen
    disk.close()


def test_a_torn_write_is_cut_at_sectors_only():
    old, new = bytes(8192), b"\xff" * 8192
    kinds = set()
    for draw in range(200):
        left = survived(old, [(0, new)], random.Random(draw))
        for start in range(0, 8192, 512):
            values = set(left[start : start + 512])
            assert values in ({0}, {255}) or len(values) > 100  # old, new, or noise
            kinds.add(min(len(values), 2) * (1 + max(values)))
    assert len(kinds) > 2
