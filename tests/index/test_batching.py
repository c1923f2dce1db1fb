"""Searches that come together go to the store as one call, and each gets its own answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import wait_for

from kokeshi.errors import CollectionNotFoundError, InvalidRequestError
from kokeshi.index import CollectionSpec, Item, SearchParams
from kokeshi.index.batching import Batched
from kokeshi.index.filters import Equals
from kokeshi.index.passing import PassingStore

SPACE = "0123456789abcdef"
DIM = 16


class Gate(PassingStore):
    """The store, whose searches wait until they are let through; it remembers their sizes."""

    def __init__(self, inner):
        super().__init__(inner)
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.sizes = []

    def search(self, name, vectors, params, *, space):
        self.sizes.append(len(vectors))
        self.entered.release()
        assert self.open.wait(20)
        return super().search(name, vectors, params, space=space)


@pytest.fixture
def vectors(clustered):
    return clustered(300, DIM)


@pytest.fixture
def filled(faces, vectors):
    faces.upsert(
        "faces",
        [Item(f"id{i}", vector, {"odd": i % 2 == 1}) for i, vector in enumerate(vectors)],
        space=SPACE,
    )
    return faces


def ids(found):
    return [[hit.id for hit in hits] for hits in found.hits]


def waiting(store):
    return sum(map(len, list(store._lanes.values())))


def together(store, gate, calls):
    """Answers to calls that all come while the first of them is held up; errors in their place."""

    def answer(call):
        vectors, params = call
        try:
            return store.search("faces", vectors, params, space=SPACE)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        first = threads.submit(answer, calls[0])
        assert gate.entered.acquire(timeout=20)
        rest = [threads.submit(answer, call) for call in calls[1:]]
        wait_for(lambda: waiting(store) + len(gate.sizes) >= len(calls))
        gate.open.set()
        return [one.result(20) for one in (first, *rest)]


def test_calls_that_come_while_one_runs_go_as_one_and_get_their_own_answers(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate)
    params = SearchParams(5, exact=True)
    calls = [(vectors[i : i + 1 + i % 3], params) for i in range(12)]
    answers = together(store, gate, calls)
    assert gate.sizes == [1, sum(len(one) for one, _ in calls[1:])]
    for (queries, _), found in zip(calls, answers, strict=True):
        assert ids(found) == ids(filled.search("faces", queries, params, space=SPACE))


def test_a_call_that_is_alone_does_not_wait(filled, vectors):
    gate = Gate(filled)
    gate.open.set()
    store = Batched(gate)
    for i in range(5):
        store.search("faces", vectors[i : i + 1], SearchParams(), space=SPACE)
    assert gate.sizes == [1] * 5
    assert not store._lanes


def test_only_equal_searches_are_merged(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate)
    kinds = [
        SearchParams(5),
        SearchParams(5, filter=Equals("odd", True)),
        SearchParams(5, filter=Equals("odd", 1)),  # equal to Python, not to a filter
        SearchParams(5, dimension=8),
        SearchParams(6),
    ]
    answers = together(store, gate, [(vectors[:1], params) for params in kinds])
    assert gate.sizes == [1] * 5
    for params, found in zip(kinds, answers, strict=True):
        assert ids(found) == ids(filled.search("faces", vectors[:1], params, space=SPACE))
    assert ids(answers[2]) == [[]]


def test_a_wrong_query_fails_alone(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate)
    poison = np.full((1, DIM), np.nan, np.float32)
    calls = [(vectors[i : i + 1], SearchParams(3)) for i in range(6)]
    calls[3] = (poison, SearchParams(3))
    answers = together(store, gate, calls)
    assert isinstance(answers[3], InvalidRequestError)
    assert str(answers[3]).startswith("query 0 ")
    for place in (0, 1, 2, 4, 5):
        assert answers[place].hits[0][0].id == f"id{place}"


def test_what_is_wrong_for_all_is_told_to_all(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate)
    calls = [(vectors[i : i + 1], SearchParams(3, dimension=7)) for i in range(4)]
    answers = together(store, gate, calls)
    assert all(isinstance(one, InvalidRequestError) for one in answers)
    with pytest.raises(CollectionNotFoundError):
        store.search("nowhere", vectors[:1], SearchParams(), space=SPACE)


@pytest.mark.parametrize(
    "queries", [[], [[]], [1.0] * DIM, [["a"] * DIM], [[1.0], [1.0, 2.0]], np.zeros((0, DIM))]
)
def test_what_cannot_be_merged_is_refused_as_the_store_does(filled, queries):
    with pytest.raises(InvalidRequestError) as told:
        Batched(filled).search("faces", queries, SearchParams(), space=SPACE)
    with pytest.raises(InvalidRequestError) as expected:
        filled.search("faces", queries, SearchParams(), space=SPACE)
    assert str(told.value) == str(expected.value)


def test_batches_have_a_bound(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate, max_queries=4)
    together(store, gate, [(vectors[i : i + 1], SearchParams(3)) for i in range(10)])
    assert gate.sizes == [1, 4, 4, 1]
    gate.sizes.clear()
    store.search("faces", vectors[:9], SearchParams(3), space=SPACE)
    assert gate.sizes == [9]


def test_a_slow_search_does_not_hold_up_others(filled, vectors):
    gate = Gate(filled)
    store = Batched(gate)
    slow = SearchParams(3, filter=Equals("odd", True))
    with ThreadPoolExecutor(2) as threads:
        held = threads.submit(store.search, "faces", vectors[:1], slow, space=SPACE)
        assert gate.entered.acquire(timeout=20)
        fast = threads.submit(store.search, "faces", vectors[:1], SearchParams(3), space=SPACE)
        assert gate.entered.acquire(timeout=20)  # it came through beside the other
        gate.open.set()
        held.result(20)
        fast.result(20)


def test_who_comes_again_first_after_a_batch_waits_for_the_others(filled, vectors, monkeypatch):
    monkeypatch.setattr("kokeshi.index.batching.PAUSE_SHARE", 1000.0)
    gate = Gate(filled)
    store = Batched(gate, max_pause_s=1.0)

    def ask(i):
        return store.search("faces", vectors[i : i + 1], SearchParams(), space=SPACE)

    with ThreadPoolExecutor(3) as threads:
        alone = threads.submit(ask, 0)
        wait_for(lambda: gate.sizes == [1])
        together = [threads.submit(ask, i) for i in (1, 2)]
        wait_for(lambda: sum(map(len, store._lanes.values())) == 2)
        gate.open.set()
        assert all(one.result(20).hits for one in (alone, *together))
        assert gate.sizes == [1, 2]
        again = [threads.submit(ask, i) for i in (3, 4)]
        assert all(one.result(20).hits for one in again)
    assert gate.sizes == [1, 2, 2]


def test_walks_go_by_themselves_and_so_many_at_once(tmp_path, clustered, fill, small_tuning):
    from kokeshi.index import EmbeddedStore

    vectors = clustered(1500, DIM)
    with EmbeddedStore(tmp_path, small_tuning) as inner:
        inner.create(CollectionSpec("faces", SPACE, DIM, index="ivf"))
        fill(inner, "faces", vectors)
        assert inner.wait_idle()
        gate = Gate(inner)
        gate.open.set()
        store = Batched(gate, walks=2)
        assert store.search("faces", vectors[:1], SearchParams(), space=SPACE).route.kind == "ivf"
        gate.open.clear()
        gate.sizes.clear()
        with ThreadPoolExecutor(4) as threads:
            for i in range(4):
                threads.submit(
                    store.search, "faces", vectors[i : i + 1], SearchParams(), space=SPACE
                )
            wait_for(lambda: gate.sizes == [1] * 2)
            time.sleep(0.05)  # for a third one to go, if it could
            assert gate.sizes == [1] * 2
            gate.open.set()
            wait_for(lambda: gate.sizes == [1] * 4)


def test_many_threads_get_what_they_would_get_alone(filled, vectors):
    store = Batched(filled, max_queries=7)
    expected = [
        ids(filled.search("faces", vectors[i : i + 1], SearchParams(5), space=SPACE))
        for i in range(100)
    ]
    with ThreadPoolExecutor(16) as threads:
        work = [
            threads.submit(
                store.search, "faces", vectors[i % 100 : i % 100 + 1], SearchParams(5), space=SPACE
            )
            for i in range(600)
        ]
        for i, one in enumerate(work):
            assert ids(one.result(20)) == expected[i % 100]
    assert not store._lanes
