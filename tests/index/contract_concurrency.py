"""Many threads at once: what every store has to keep."""

import random
import threading
import time

import numpy as np
import pytest
from contract import Subject, vectors_of

from kokeshi.errors import AlreadyExistsError, ItemNotFoundError
from kokeshi.index import Item, SearchParams

DIM = 16
SECONDS = 2.0


def self_checking(item_id, version):
    """An item whose vector follows from its id and version: a torn one does not fit."""
    seed = int.from_bytes(f"{item_id}.{version}".encode()[-8:], "little")
    vector = vectors_of(1, DIM, seed)[0]
    return Item(item_id, vector, {"version": version})


def check(item_id, vector, metadata):
    expected = self_checking(item_id, metadata["version"])
    np.testing.assert_array_equal(vector, expected.vector)


def run(*workers):
    """Runs functions in threads until time is up, and raises what one of them raised."""
    failures, stop = [], threading.Event()

    def guarded(worker):
        try:
            while not stop.is_set():
                worker()
        except BaseException as failure:
            failures.append(failure)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    stop.wait(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class Versions:
    """Items that are replaced all the time, and what was acknowledged of each."""

    def __init__(self, subject, count):
        self.subject, self.name = subject, subject.create(dim=DIM)
        self.acknowledged = dict.fromkeys(range(count), 0)
        self.rng = random.Random(1)
        subject.put(self.name, [self_checking(f"id{number}", 0) for number in range(count)])

    def writer(self, share):
        def write():
            numbers = self.rng.sample(share, 4)
            items = [self_checking(f"id{one}", self.acknowledged[one] + 1) for one in numbers]
            self.subject.put(self.name, items)
            for number in numbers:
                self.acknowledged[number] += 1

        return write

    def get(self):
        number = self.rng.randrange(len(self.acknowledged))
        least = self.acknowledged[number]
        (item,) = self.subject.store.get(self.name, [f"id{number}"], with_vectors=True)
        check(item.id, item.vector, item.metadata)
        assert item.metadata["version"] >= least  # it was acknowledged before

    def search(self):
        query = vectors_of(1, DIM, self.rng.randrange(100))[0]
        for params in ({"exact": True}, {}):
            hits = self.subject.search(self.name, query, k=24, with_vectors=True, **params)
            assert len({hit.id for hit in hits}) == len(hits)
            for hit in hits:
                check(hit.id, hit.vector, hit.metadata)


def test_readers_see_whole_items_while_writers_write(subject):
    versions = Versions(subject, 24)
    run(versions.writer(range(12)), versions.writer(range(12, 24)), versions.get, versions.search)
    name = versions.name
    assert subject.store.count(name) == 24
    for item in subject.all(name, with_vectors=True):
        check(item.id, item.vector, item.metadata)
        assert item.metadata["version"] == versions.acknowledged[int(item.id[2:])]
    assert max(versions.acknowledged.values()) > 0


class Churn:
    """Items that come and go, and which of them were acknowledged as gone."""

    def __init__(self, subject):
        self.subject, self.name = subject, subject.create(dim=DIM)
        self.written, self.deleted = [], set()
        self.rng = random.Random(2)

    def write(self):
        items = [self_checking(f"id{len(self.written) + place}", 0) for place in range(5)]
        self.subject.put(self.name, items)
        self.written.extend(item.id for item in items)

    def delete(self):
        alive = [item_id for item_id in list(self.written) if item_id not in self.deleted]
        gone = self.rng.sample(alive, min(3, len(alive)))
        if not gone:
            time.sleep(0.001)
            return
        self.subject.store.delete(self.name, gone)
        self.deleted.update(gone)

    def search(self):
        before = set(self.deleted)
        query = vectors_of(1, DIM, self.rng.randrange(100))[0]
        for params in ({"exact": True}, {}):
            hits = self.subject.search(self.name, query, k=50, **params)
            assert before.isdisjoint(hit.id for hit in hits)

    def get(self):
        before = sorted(self.deleted)
        if before:
            with pytest.raises(ItemNotFoundError):
                self.subject.store.get(self.name, [before[-1]])


def test_nothing_that_was_deleted_before_a_search_was_asked_is_found(subject):
    churn = Churn(subject)
    run(churn.write, churn.delete, churn.search, churn.get)
    left = {item.id for item in subject.all(churn.name, 1000)}
    assert left == set(churn.written) - churn.deleted
    assert churn.deleted


def test_writers_of_one_id_leave_one_item(subject):
    name = subject.create(dim=DIM)
    done = []

    def writer(thread):
        def write():
            version = thread * 1_000_000 + len(done)
            subject.put(name, [self_checking("a", version)])
            done.append(version)

        return write

    run(*(writer(thread) for thread in range(4)))
    assert subject.store.count(name) == 1
    (item,) = subject.store.get(name, ["a"], with_vectors=True)
    check("a", item.vector, item.metadata)
    assert item.metadata["version"] in done
    params = SearchParams(k=10)
    found = subject.store.search(name, item.vector[None], params, space="0123456789abcdef")
    assert [hit.id for hit in found.hits[0]] == ["a"]


def test_one_of_many_makes_a_collection(subject: Subject):
    spec = subject.spec()
    won, lost, ensured = [], [], []
    start = threading.Barrier(6)

    def make():
        start.wait()
        try:
            won.append(subject.store.create(spec))
        except AlreadyExistsError:
            lost.append(1)

    def ensure():
        start.wait()
        ensured.append(subject.store.ensure(spec).spec.name)

    threads = [threading.Thread(target=work) for work in (make, make, make, ensure, ensure, ensure)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) <= 1
    assert len(won) + len(lost) == 3
    assert ensured == [spec.name] * 3


def test_one_of_many_adds_an_item(subject):
    name = subject.create(dim=DIM)
    won, lost = [], []
    start = threading.Barrier(4)

    def add(thread):
        start.wait()
        try:
            subject.put(name, [self_checking("a", thread)], add_only=True)
            won.append(thread)
        except AlreadyExistsError:
            lost.append(thread)

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert subject.store.get(name, ["a"])[0].metadata["version"] == won[0]
