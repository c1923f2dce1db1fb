"""Backups taken while a store is written to, killed half-way, restored and compared."""

import json
import random
import signal
import subprocess
import sys
import threading

import pytest
from faultkit.damage import files_of, filled, flip, prefixes
from faultkit.notes import word_of, write_notes
from faultkit.oracle import Ledger, check, read_all
from faultkit.process import environment
from faultkit.work import operation, perform, small_tuning, spec

from kokeshi.errors import SetupError
from kokeshi.index import EmbeddedStore
from kokeshi.index.backup import backup, verify_backup
from kokeshi.index.restore import restore

FAMILY = "11 backups under fire"


class Writing:
    """A thread that writes until it is told to stop."""

    def __init__(self, store, ledger, seed):
        self._store, self._ledger, self._seed = store, ledger, seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        number = 0
        while not self._stop.is_set():
            wanted = operation(self._seed, number)
            self._ledger.begin(wanted)
            perform(self._store, wanted)
            self._ledger.acknowledge(wanted)
            number += 1


def noted(ledger):
    """How many writes were acknowledged by now."""
    with ledger.lock:
        return len(ledger.history)


def test_a_backup_is_one_moment_between_its_beginning_and_its_end(tmp_path, seed, rounds, tally):
    ledger, taken = Ledger(), []
    wanted = rounds(3, 100)
    with EmbeddedStore(tmp_path / "data", small_tuning()) as store:
        store.create(spec())
        with Writing(store, ledger, seed):
            while noted(ledger) < 20:
                pass
            for number in range(wanted):
                first = noted(ledger)
                backup(tmp_path / "data", tmp_path / f"backup{number}")
                taken.append((first, noted(ledger) + 1))  # one may be written, and not noted yet
    states = prefixes(ledger)
    for number, (first, last) in enumerate(taken):
        assert not verify_backup(tmp_path / f"backup{number}").findings
        found = restored(tmp_path / f"backup{number}", tmp_path / f"restored{number}", states)
        assert found in states[first : last + 1], f"seed {seed}, backup {number}"
    tally(rounds=wanted, operations=len(ledger.history))


def restored(source, target, states):
    """The state of a restored backup, restored twice: the same both times, and it can be used."""
    restore(source, target)
    with EmbeddedStore(target, small_tuning()) as store:
        state = check(store, states)
        perform(store, operation(10**6, 0))
    restore(source, target, is_replacing=True)
    with EmbeddedStore(target, small_tuning()) as store:
        assert read_all(store) == state
    return state


KILLED = """
import json, sys
from pathlib import Path
from faultkit.driver import Killer
from faultkit.watch import watching
from kokeshi.index.backup import backup
from kokeshi.index.restore import restore
work, source, target, kill = sys.argv[1:]
with watching(Killer(**json.loads(kill)), Path(target).parent):
    {"backup": backup, "restore": restore}[work](Path(source), Path(target))
"""


def killed(work, source, target, kill):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, work, source, target, json.dumps(kill)],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


EVENTS = ("write", "sync", "fsync", "rename", "mkdir")


@pytest.mark.parametrize("work", ["backup", "restore"])
def test_a_kill_half_way_leaves_nothing_that_looks_whole(tmp_path, seed, rng, rounds, tally, work):
    ledger = filled(tmp_path / "data", seed, 30)
    write_notes(tmp_path / "data", "kept")
    backup(tmp_path / "data", tmp_path / "whole")
    wanted, died = rounds(4, 60), 0
    for number in range(wanted):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        kill = {
            "kind": EVENTS[number % len(EVENTS)],
            "count": rng.randint(1, 3),
            "moment": rng.choice(["before", "after"]),
        }
        source = tmp_path / ("data" if work == "backup" else "whole")
        died += killed(work, source, folder / "made", kill)
        note = f"seed {seed}, round {number}, {kill}"
        if work == "backup":
            check_backup(folder, ledger, note)
            backup(tmp_path / "data", folder / "again")
            assert verify_backup(folder / "again").is_sound
        else:
            check_restore(tmp_path / "whole", folder / "made", ledger, note)
    tally(rounds=wanted)
    assert died, "no process met its event"


def check_backup(folder, ledger, note):
    """What stands under the name of the backup is the whole of it."""
    if not (folder / "made").exists():
        return
    assert verify_backup(folder / "made").is_sound, note
    restore(folder / "made", folder / "restored")
    with EmbeddedStore(folder / "restored", small_tuning()) as store:
        assert read_all(store) == ledger.state, note
    assert word_of(folder / "restored") == "kept", note


def check_restore(source, target, ledger, note):
    """Half a restore is not served; restoring again mends it."""
    if target.exists():
        try:
            with EmbeddedStore(target, small_tuning()) as store:
                if store.collections():
                    assert read_all(store) == ledger.state, note
                    assert word_of(target) == "kept", note
        except SetupError:
            pass
    restore(source, target, is_replacing=True)
    with EmbeddedStore(target, small_tuning()) as store:
        assert read_all(store) == ledger.state, note
    assert word_of(target) == "kept", note


def test_a_damaged_backup_is_refused_and_replaces_nothing(tmp_path, seed, rounds, tally):
    ledger = filled(tmp_path / "data", seed, 20)
    write_notes(tmp_path / "data", "old")
    backup(tmp_path / "data", tmp_path / "backup")
    write_notes(tmp_path / "data", "new")
    rng = random.Random(seed)
    wanted = rounds(2, 100)
    for path in files_of(tmp_path / "backup"):
        whole = (tmp_path / "backup" / path).read_bytes()
        for _ in range(wanted):
            places = flip(tmp_path / "backup" / path, rng)
            with pytest.raises(SetupError):
                restore(tmp_path / "backup", tmp_path / "data", is_replacing=True)
            (tmp_path / "backup" / path).write_bytes(whole)
            with EmbeddedStore(tmp_path / "data", small_tuning()) as store:
                assert read_all(store) == ledger.state, f"seed {seed}, bits {places} of {path}"
            assert word_of(tmp_path / "data") == "new", f"seed {seed}, bits {places} of {path}"
    tally(rounds=wanted)


def test_a_directory_with_data_is_not_overwritten_unasked(tmp_path, seed):
    ledger = filled(tmp_path / "data", seed, 10)
    backup(tmp_path / "data", tmp_path / "backup")
    with pytest.raises(SetupError):
        restore(tmp_path / "backup", tmp_path / "data")
    with EmbeddedStore(tmp_path / "data", small_tuning()) as store:
        assert read_all(store) == ledger.state
        with pytest.raises(SetupError, match="in use"):
            restore(tmp_path / "backup", tmp_path / "data", is_replacing=True)
