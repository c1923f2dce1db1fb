"""A disk that is full, fails or is slow, and clients that give up and try again."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import apsw
import pytest
from faultkit.damage import copied, cut_off
from faultkit.oracle import Ledger, check, read_all
from faultkit.watch import Watcher, watching
from faultkit.work import NAME, SPACE, item_of, operation, perform, small_tuning, spec

from kokeshi.errors import KokeshiError, OverloadedError, SetupError, UnavailableError
from kokeshi.index import EmbeddedStore, SearchParams

FAMILY = "6, 15 failing and slow disks"
OF_SQLITE = {"write", "sync", "truncate"}
PATIENCE_S = 60.0


class Failing(Watcher):
    """Once armed, fails the n-th event of one kind, or all from it on until it is mended."""

    def __init__(self, kind, count, error, *, stays=False):
        self.has_failed = False
        self._is_armed = False
        self._kind = kind
        self._left = count
        self._error = error
        self._stays = stays

    def arm(self):
        self._is_armed = True

    def mend(self):
        self._is_armed = False

    def before(self, event):
        if event.kind != self._kind or not self._is_armed:
            return
        self._left -= 1
        if self._left == 0 or (self._stays and self._left < 0):
            self.has_failed = True
            raise self._error


def error_of(kind, name):
    """As SQLite's own VFS reports it, or as `os` does."""
    if kind in OF_SQLITE:
        return {"full": apsw.FullError, "broken": apsw.IOError}[name](name)
    return OSError({"full": 28, "broken": 5}[name], name)


def work_until_refused(store, ledger, seed, operations):
    """The error of the first refused write, None where all went well."""
    for number in range(operations):
        ledger.begin(operation(seed, number))
        try:
            perform(store, ledger.pending)
        except KokeshiError as error:
            return error
        ledger.acknowledge(ledger.pending)
    return None


@pytest.mark.parametrize("kind", ["write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("stays", [False, True], ids=["once", "until mended"])
def test_a_full_disk_refuses_writes_until_space_returns(
    tmp_path, seed, rng, rounds, tally, kind, stays
):
    wanted = rounds(2, 60)
    for number in range(wanted):
        note, directory = f"seed {seed}, round {number}", tmp_path / f"{number}"
        ledger = Ledger()
        with EmbeddedStore(directory, small_tuning()) as store:
            store.create(spec())
        count = rng.randint(1, 150 if kind == "write" else 4)
        failing = Failing(kind, count, error_of(kind, "full"), stays=stays)
        with watching(failing, directory), EmbeddedStore(directory, small_tuning()) as store:
            failing.arm()
            error = work_until_refused(store, ledger, seed + number, 40)
            if kind == "write" and failing.has_failed:
                assert isinstance(error, OverloadedError | None), note
            check(store, [ledger.state], note=note)
            failing.mend()
            ledger.refuse()
            for later in range(100, 105):
                perform(store, operation(seed, later))
                ledger.acknowledge(operation(seed, later))
            assert store.wait_idle()
            check(store, [ledger.state], note=note)
        with EmbeddedStore(directory, small_tuning()) as store:
            check(store, [ledger.state], note=note)
    tally(rounds=wanted)


@pytest.mark.parametrize("kind", ["write", "sync", "fsync"])
def test_a_disk_that_fails_a_write_acknowledges_none_until_the_next_start(
    tmp_path, seed, rng, rounds, tally, kind
):
    wanted, refusals = rounds(3, 100), 0
    for number in range(wanted):
        note, directory = f"seed {seed}, round {number}", tmp_path / f"{number}"
        ledger = Ledger()
        with EmbeddedStore(directory, small_tuning()) as store:
            store.create(spec())
        failing = Failing(kind, rng.randint(1, 12), error_of(kind, "broken"))
        with watching(failing, directory), EmbeddedStore(directory, small_tuning()) as store:
            failing.arm()
            error = work_until_refused(store, ledger, seed + number, 40)
            if error is not None:
                refusals += 1
                assert isinstance(error, UnavailableError), note
                assert not store.stats().is_writable
                with pytest.raises(UnavailableError):
                    perform(store, operation(seed, 200))
            check(store, [ledger.state], note=note)
        with EmbeddedStore(directory, small_tuning()) as store:
            check(store, ledger.possible(), note=note)
    tally(rounds=wanted)
    assert refusals or kind == "fsync", "no write met the failure"


# SQLite passes over an error while it closes; one of Python's is said to have been ignored
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["full", "broken"])
@pytest.mark.parametrize("kind", ["write", "sync", "fsync"])
def test_a_disk_that_fails_while_a_store_opens_is_said_and_costs_nothing(
    tmp_path, seed, rounds, tally, kind, fault
):
    """Every event of opening in turn, of a new directory and of one that kill -9 left."""
    step = 1 if rounds(0, 1) else 3
    ledger, _ = cut_off(tmp_path / "data", tmp_path / "image", seed, 20)
    attempts = 0
    for source in (tmp_path / "image", None):
        for count in itertools.count(1, step):
            directory = tmp_path / f"{attempts}"
            attempts += 1
            if source:
                copied(source, directory)
            failing = Failing(kind, count, error_of(kind, fault))
            failing.arm()
            with watching(failing, directory), suppress(SetupError):
                store = EmbeddedStore(directory, small_tuning())
                failing.mend()
                store.close()
            with EmbeddedStore(directory, small_tuning()) as store:
                if source:
                    check(store, [ledger.state], note=f"seed {seed}, {kind} {count}")
            if not failing.has_failed:
                break
    tally(rounds=attempts)


class Gate(Watcher):
    """A disk as slow as can be: while it is shut, no sync of SQLite comes to its end."""

    def __init__(self):
        self.is_waited_for = threading.Event()
        self._is_open = threading.Event()
        self._is_open.set()

    def shut(self):
        self.is_waited_for.clear()
        self._is_open.clear()

    def open(self):
        self._is_open.set()

    def before(self, event):
        if event.kind == "sync" and not self._is_open.is_set():
            self.is_waited_for.set()
            assert self._is_open.wait(PATIENCE_S)


@pytest.fixture
def slow(tmp_path):
    """(gate, store with 30 items)."""
    gate = Gate()
    tuning = small_tuning(queue_jobs=3)
    with watching(gate, tmp_path), EmbeddedStore(tmp_path / "data", tuning) as store:
        store.create(spec())
        items = [item_of(1, 1, i, f"id{i}") for i in range(30)]
        store.upsert(NAME, items, space=SPACE)
        yield gate, store
        gate.open()


def test_reads_do_not_wait_for_a_slow_disk_and_do_not_see_what_is_not_on_it(slow):
    gate, store = slow
    before = read_all(store)
    with ThreadPoolExecutor(1) as pool:
        gate.shut()
        writing = pool.submit(perform, store, one_item(99))
        assert gate.is_waited_for.wait(PATIENCE_S)
        assert read_all(store) == before
        query = item_of(4, 99, 0, "id99").vector
        found = store.search(NAME, query[None], SearchParams(k=30), space=SPACE)
        assert {hit.id for hit in found.hits[0]} == {item_id for _, item_id in before}
        assert not writing.done()
        gate.open()
        assert writing.result().is_fsynced
    assert len(read_all(store)) == 31


def test_a_client_that_gave_up_and_tries_again_writes_once(slow):
    """The deadline passes while the first attempt waits for the disk."""
    gate, store = slow
    wanted = next(one for n in range(99) if (one := operation(3, n)).request_id)
    with ThreadPoolExecutor(2) as pool:
        gate.shut()
        first = pool.submit(perform, store, wanted)
        assert gate.is_waited_for.wait(PATIENCE_S)
        second = pool.submit(perform, store, wanted)
        gate.open()
        assert first.result() == second.result()
    assert store.describe(NAME).seq == first.result().seq


def test_writes_beyond_the_queue_are_refused_and_leave_nothing(slow):
    gate, store = slow
    outcomes = {}

    def write(number):
        try:
            perform(store, one_item(number))
        except OverloadedError:
            outcomes[f"id{number}"] = False
        else:
            outcomes[f"id{number}"] = True

    gate.shut()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(100, 120)]
    threads[0].start()
    assert gate.is_waited_for.wait(PATIENCE_S)
    for thread in threads[1:]:
        thread.start()
    while sum(thread.is_alive() for thread in threads) > 4:  # one at the disk, three in the queue
        time.sleep(0.001)
    gate.open()
    for thread in threads:
        thread.join()
    written = {item_id for item_id, is_written in outcomes.items() if is_written}
    assert 0 < len(written) < 20
    assert {item_id for _, item_id in read_all(store)} == written | {f"id{i}" for i in range(30)}


def one_item(number):
    template = operation(4, number)
    return type(template)(4, number, "upsert", "", (f"id{number}",), 0, None)


def test_a_clock_that_jumps_changes_nothing(tmp_path, seed, rng, monkeypatch):
    ledger = Ledger()
    monkeypatch.setattr(time, "time", lambda: rng.uniform(-(10**9), 4 * 10**9))
    monkeypatch.setattr(time, "time_ns", lambda: rng.randrange(4 * 10**18))
    for part in range(3):
        with EmbeddedStore(tmp_path, small_tuning()) as store:
            store.ensure(spec())
            for number in range(15 * part, 15 * part + 15):
                perform(store, operation(seed, number))
                ledger.acknowledge(operation(seed, number))
            check(store, [ledger.state])
