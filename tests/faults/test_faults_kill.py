"""kill -9 at random times, and before and after single writes, syncs and renames."""

import signal

import pytest
from faultkit.oracle import Ledger, check
from faultkit.process import killed_at_random, run_to_death
from faultkit.work import operation, perform, small_tuning, spec

from kokeshi.index import EmbeddedStore

FAMILY = "1 kill -9 at random times"

# Of SQLite: writes and syncs of its log, of its file (a checkpoint); of the caches: their syncs,
# renames and the directories that are made for them.
EVENTS = ("write", "sync", "fsync", "rename", "mkdir", "unlink")


def reopened(directory, ledger, note):
    """Opens, checks, and does the interrupted write again: once, if it was there already."""
    with EmbeddedStore(directory, small_tuning()) as store:
        store.ensure(spec())
        pending = ledger.pending
        state = check(store, ledger.possible(), note=note)
        if pending is not None and pending.request_id is not None:
            retry(store, ledger, pending, state)
        ledger.adopt(check(store, [state, *ledger.possible()[1:]], note=note))


def retry(store, ledger, pending, state):
    """A retry under its request id is written only where the first attempt was not."""
    was_written = state != ledger.state
    before = store.describe("faces").seq
    receipt = perform(store, pending)
    assert receipt.count == len(pending.ids)
    if was_written:
        assert receipt.seq <= before
        assert store.describe("faces").seq == before
    assert perform(store, pending) == receipt


def test_acknowledged_writes_survive_kill_9_at_any_time(tmp_path, seed, rng, rounds, tally):
    ledger, first = Ledger(), 0
    wanted = rounds(4, 200)
    for number in range(wanted):
        first = killed_at_random(tmp_path / "data", ledger, seed, first, rng)
        reopened(tmp_path / "data", ledger, f"seed {seed}, round {number}")
    tally(rounds=wanted, operations=len(ledger.history))
    assert len(ledger.history) > 10 * wanted, "killed too early to prove anything"


@pytest.mark.parametrize("event", EVENTS)
def test_a_kill_around_an_event_of_the_disk(tmp_path, seed, rng, rounds, tally, event):
    ledger, first = Ledger(), 0
    wanted, died = rounds(1, 20), 0
    for number in range(wanted):
        count = rng.randint(1, 1 + 3 * number if event in {"mkdir", "rename"} else 200)
        kill = {"kind": event, "count": count, "moment": rng.choice(("before", "after"))}
        status, first = run_to_death(tmp_path / "data", ledger, seed, first, count=400, kill=kill)
        died += status == -signal.SIGKILL
        reopened(tmp_path / "data", ledger, f"seed {seed}, round {number}, {kill}")
    tally(rounds=wanted, operations=len(ledger.history))
    assert died, "no process met its event"


def test_a_retry_after_a_restart_is_not_written_twice(tmp_path, seed):
    wanted = next(one for n in range(99) if (one := operation(seed, n)).request_id)
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec())
        first = perform(store, wanted)
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        assert perform(store, wanted) == first
        assert store.describe("faces").seq == first.seq
