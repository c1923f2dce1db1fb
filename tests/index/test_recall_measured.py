"""Recall is measured on live searches, told in answers, and used to choose."""

import threading
import time

import numpy as np
import pytest
from waiting import wait_for

from kokeshi import metrics
from kokeshi.errors import CollectionNotFoundError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.filters import Equals
from kokeshi.index.notes import Notes
from kokeshi.index.passing import PassingStore
from kokeshi.index.recall import Effort, Measured, NotesKeeper, Pace, Sampling
from kokeshi.index.recall.curve import decoded

SPACE = "0123456789abcdef"
ROWS, DIM = 6000, 256
DIMENSIONS = (16, 32, 64, 128, 256)
EAGER = Pace(core_share=1000.0, survey_s=0.05, niceness=0)
SURVEY = Effort(queries=200, least_rows=1000)
NO_SURVEY = Effort(queries=0)
ALL, NONE = Sampling(share=1.0), Sampling(share=0.0, least_every_s=1e9)


def hard_vectors(rows, seed):
    """Unit vectors whose prefixes are bad at finding neighbours."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((rows // 50 or 1, DIM))
    spread = (np.arange(DIM) + 81.0) ** -1.45
    vectors = centres[rng.integers(len(centres), size=rows)] + 1.6 * rng.standard_normal(
        (rows, DIM)
    )
    vectors = (vectors * spread).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


HARD = hard_vectors(ROWS + 800, seed=1)
QUERIES = HARD[ROWS:]


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """A store with the collection a, whose searches scan codes."""
    tuning = Tuning(codes_rows=1000, shortlist_rows=30, shortlist_per_k=3)
    with EmbeddedStore(tmp_path_factory.mktemp("hard"), tuning) as store:
        spec = CollectionSpec("a", SPACE, DIM, dimensions=DIMENSIONS, durability="os")
        store.create(spec)
        items = [Item(f"id{i}", row, {"odd": i % 2 == 1}) for i, row in enumerate(HARD[:ROWS])]
        store.upsert("a", items, space=SPACE)
        assert store.describe("a").kind == "codes"
        yield store


class Unclosed(PassingStore):
    """The store that other tests go on with."""

    def close(self):
        pass


@pytest.fixture(scope="module")
def surveyed(hard):
    """A measured store after its survey, before any search; no search in it is repeated."""
    store = Measured(Unclosed(hard), sampling=NONE, effort=SURVEY, pace=EAGER)
    wait_surveyed(store)
    yield store
    store.close()


def wait_surveyed(store):
    wait_for(lambda: store._states.get("a") is not None and store._states["a"]._surveyed)


@pytest.fixture
def measured(hard):
    """Opens a measured store over the collection a."""
    opened = []

    def open_measured(sampling=ALL, effort=NO_SURVEY, pace=EAGER, **options):
        store = Measured(Unclosed(hard), sampling=sampling, effort=effort, pace=pace, **options)
        opened.append(store)
        return store

    yield open_measured
    for store in opened:
        store.close()


def search(store, queries, **params):
    found = None
    for query in queries:
        found = store.search("a", query[None], SearchParams(**params), space=SPACE)
    return found


def true_recall(store, queries, params):
    truth = store.search(
        "a", queries, SearchParams(params.k, exact=True, filter=params.filter), space=SPACE
    )
    found = store.search("a", queries, params, space=SPACE)
    shares = [
        len({hit.id for hit in one} & {hit.id for hit in other}) / len(other)
        for one, other in zip(found.hits, truth.hits, strict=True)
    ]
    return float(np.mean(shares))


def test_answers_tell_the_recall_of_searches_like_them(measured, hard):
    store = measured()
    assert search(store, QUERIES[:1]).recall is None
    search(store, QUERIES[:150])
    assert store.wait_measured()
    recall = search(store, QUERIES[:1]).recall
    truth = true_recall(hard, QUERIES[150:], SearchParams())
    assert 0.5 < truth < 0.97
    assert abs(recall.value - truth) < 0.02
    assert recall.low < recall.value < recall.high < recall.low + 0.1
    assert 140 <= recall.samples <= 151
    labels = ("a", "codes 64>256 shortlist 30 k 10")
    assert metrics.SEARCH_RECALL.labels(*labels)._value.get() == pytest.approx(
        recall.value, abs=0.01
    )
    metrics.forget_collection("a")
    assert labels not in metrics.SEARCH_RECALL._metrics


def test_exact_searches_need_no_measure(measured):
    store = measured()
    recall = search(store, QUERIES[:3], exact=True).recall
    assert (recall.value, recall.low, recall.samples) == (1.0, 1.0, 0)
    assert store.wait_measured()
    assert store._states["a"].ledger.points(None) == []


def test_ways_to_search_are_measured_apart(measured, hard):
    store = measured()
    wide = {"rerank": True, "dimension": 64, "shortlist": 400}
    narrow = {"rerank": True, "dimension": 16, "shortlist": 20}
    odd = {"filter": Equals("odd", True)}
    for params in (wide, narrow, odd):
        search(store, QUERIES[:80], **params)
    assert store.wait_measured()
    told = {}
    for name, params in (("wide", wide), ("narrow", narrow), ("odd", odd)):
        told[name] = search(store, QUERIES[:1], **params).recall.value
        assert abs(told[name] - true_recall(hard, QUERIES, SearchParams(**params))) < 0.06
    assert told["narrow"] < 0.5 < told["wide"]


@pytest.mark.parametrize("queries", [1, 5])
def test_a_share_of_searches_is_repeated(measured, queries):
    store = measured(Sampling(share=0.2, least_every_s=1e9))
    for start in range(300):
        store.search("a", QUERIES[start : start + queries], SearchParams(), space=SPACE)
    assert store.wait_measured()
    assert 30 <= search(store, QUERIES[:1]).recall.samples <= 95


def test_a_way_that_is_used_is_measured_once_a_minute_at_least(measured):
    store = measured(Sampling(share=0.0, least_every_s=0.1))
    for _ in range(4):
        search(store, QUERIES[:20])
        time.sleep(0.12)
    assert store.wait_measured()
    assert 3 <= search(store, QUERIES[:1]).recall.samples <= 30


@pytest.mark.parametrize("target", [0.7, 0.9, 0.95, 0.98])
def test_what_is_declared_is_within_two_points_of_the_truth(surveyed, hard, target):
    store = surveyed
    choice = store.choose("a", SearchParams(), recall_target=target)
    truth = true_recall(hard, QUERIES, choice.params)
    assert choice.basis == "measured"
    assert truth >= target - 0.005
    assert abs(choice.recall.value - truth) <= 0.02
    assert choice.recall.low - 0.01 <= truth <= choice.recall.high + 0.01


def test_a_collection_is_surveyed_before_anybody_asks(surveyed):
    store = surveyed
    points = store.points("a", SearchParams())
    recalls = {
        point.dial.shortlist: point.recall.value for point in points if point.dial.first == 64
    }
    assert recalls[30] < recalls[50] < recalls[200]
    assert search(store, QUERIES[:1]).recall.samples == 200  # of the store's own way


def test_where_nothing_is_known_it_is_exact_and_then_learns(measured):
    store = measured(NONE)
    first = store.choose("a", SearchParams(), recall_target=0.9)
    assert (first.params.exact, first.basis, first.recall.value) == (True, "exact", 1.0)
    for query in QUERIES[:70]:
        params = store.choose("a", SearchParams(), recall_target=0.6).params
        store.search("a", query[None], params, space=SPACE)
    assert store.wait_measured()
    time.sleep(1.05)  # a choice is kept for a second
    assert len(store.points("a", SearchParams())) > 6
    search(store, QUERIES[:20], rerank=True, dimension=64, shortlist=200)
    assert store.points("a", SearchParams())[0].tail_s > 0


def test_a_budget_is_kept_by_what_was_timed(surveyed):
    store = surveyed
    points = store.points("a", SearchParams())
    tails = sorted(point.tail_s for point in points)
    choice = store.choose("a", SearchParams(), budget_ms=1000 * tails[-1] + 1)
    assert (choice.basis, choice.recall.value) == ("measured", 1.0)
    choice = store.choose("a", SearchParams(), budget_ms=1e-6)
    assert (choice.basis, choice.tail_s) == ("over_budget", tails[0])


def test_a_choice_for_a_filter_is_made_by_searches_with_filters(measured, hard):
    store = measured()
    params = SearchParams(filter=Equals("odd", True))
    assert store.choose("a", params, recall_target=0.5).params.exact
    for query in QUERIES[:64]:
        store.search("a", query[None], params, space=SPACE)
    assert store.wait_measured()
    time.sleep(1.05)
    choice = store.choose("a", params, recall_target=0.5)
    assert choice.params.filter == params.filter
    assert true_recall(hard, QUERIES, choice.params) >= 0.5
    assert not store.choose("a", SearchParams(), recall_target=0.5).recall.samples


def test_a_curve_outlives_the_server(measured, tmp_path):
    keeper = NotesKeeper(Notes(tmp_path))
    first = measured(NONE, Effort(queries=40, least_rows=1000), keeper=keeper)
    wait_surveyed(first)
    expected = first.choose("a", SearchParams(), recall_target=0.9)
    first.close()
    second = measured(NONE, NO_SURVEY, keeper=NotesKeeper(Notes(tmp_path)))
    assert second.choose("a", SearchParams(), recall_target=0.9).recall == expected.recall


@pytest.mark.parametrize("kept", [b"", b"{}", b"[1]", b'{"format":1}', b'{"format":2,"kind":""}'])
def test_a_kept_curve_that_cannot_be_read_is_as_none(kept):
    assert decoded(kept) is None


def test_a_dropped_collection_is_forgotten(store):
    measured = Measured(Unclosed(store), sampling=ALL, effort=NO_SURVEY, pace=EAGER)
    spec = CollectionSpec("b", SPACE, 4)
    measured.create(spec)
    measured.upsert("b", [Item("x", np.ones(4, np.float32))], space=SPACE)
    measured.search("b", np.ones((1, 4)), SearchParams(), space=SPACE)
    measured.drop("b")
    assert "b" not in measured._states
    with pytest.raises(CollectionNotFoundError):
        measured.choose("b", SearchParams(), recall_target=0.9)
    measured.close()


class Busy(Unclosed):
    """A store that somebody searches all the time; it remembers who searched."""

    def __init__(self, inner):
        super().__init__(inner)
        self.by_others = []

    def search(self, name, vectors, params, *, space):
        if threading.current_thread().name == "kokeshi-recall":
            self.by_others.append(time.monotonic())
        return super().search(name, vectors, params, space=space)


def test_nothing_is_repeated_while_somebody_searches(hard):
    busy = Busy(hard)
    store = Measured(busy, sampling=ALL, effort=NO_SURVEY, pace=EAGER)
    with store._counted():
        search(store, QUERIES[:5])
        time.sleep(0.2)
        assert not busy.by_others
    assert store.wait_measured()
    assert len(busy.by_others) == 5
    store.close()


def test_a_store_that_is_never_idle_is_measured_slowly(hard):
    busy = Busy(hard)
    pace = Pace(core_share=1000.0, survey_s=60, patience_s=0.05, niceness=0)
    store = Measured(busy, sampling=ALL, effort=NO_SURVEY, pace=pace)
    with store._counted():
        search(store, QUERIES[:5])
        assert store.wait_measured()
    assert len(busy.by_others) == 5
    assert np.diff(busy.by_others).min() >= 0.05
    store.close()


def test_repeating_costs_a_set_share_of_a_core(hard):
    busy = Busy(hard)
    before_s = metrics.RECALL_SECONDS._value.get()
    store = Measured(busy, sampling=ALL, effort=NO_SURVEY, pace=Pace(core_share=0.2, survey_s=60))
    started_s = time.monotonic()
    search(store, QUERIES[:20])
    assert store.wait_measured()
    took_s = busy.by_others[-1] - started_s
    assert metrics.RECALL_SECONDS._value.get() - before_s <= 0.2 * took_s + 0.05
    store.close()


def test_a_full_queue_drops(hard):
    before = metrics.RECALL_DROPPED._value.get()
    store = Measured(
        Busy(hard), sampling=ALL, effort=NO_SURVEY, pace=Pace(queue_jobs=3, patience_s=60)
    )
    with store._counted():
        search(store, QUERIES[:20])
        assert metrics.RECALL_DROPPED._value.get() - before >= 15
    store.close()
    assert metrics.RECALL_QUEUE._value.get() == 0


def test_writes_between_a_search_and_its_repetition_do_not_spoil_the_measure(tmp_path):
    vectors = hard_vectors(600, seed=2)
    pace = Pace(core_share=1000.0, survey_s=60, niceness=0)
    store = Measured(EmbeddedStore(tmp_path), sampling=ALL, effort=NO_SURVEY, pace=pace)
    store.create(CollectionSpec("a", SPACE, DIM, dimensions=DIMENSIONS))
    store.upsert(
        "a", [Item(f"id{i}", vector) for i, vector in enumerate(vectors[:500])], space=SPACE
    )
    params = {"rerank": True, "dimension": 128, "shortlist": 400}
    with store._counted():
        for place in range(100):
            search(store, vectors[500 + place][None], **params)
            store.upsert("a", [Item(f"id{500 + place}", vectors[500 + place])], space=SPACE)
    assert store.wait_measured()
    recall = search(store, vectors[:1], **params).recall
    assert recall.samples >= 90
    assert recall.value > 0.99  # each query is now its own nearest neighbour, and was not then
    store.close()
