"""No answer breaks filter, tenant or delete, whatever index answers: also one that ignores them."""

import numpy as np
import pytest
from faultkit.oracle import Ledger, check, cosine, group_of, origin_of, read_all
from faultkit.work import (
    DIM,
    GROUPS,
    NAME,
    SPACE,
    TENANTS,
    item_of,
    operation,
    perform,
    small_tuning,
    spec,
)

from kokeshi.errors import KokeshiError
from kokeshi.index import EmbeddedStore, Item, SearchParams
from kokeshi.index.filters import And, Equals, Exists, In, Not, Or, Range
from kokeshi.index.forms.form import FaissForm

FAMILY = "13, 14, 16 isolation, poison and differential search"
KINDS = ("auto", "flat", "codes", "hnsw", "ivf", "panorama")


def deaf(form, query, width, breadth=None, allowed=None):
    """Like FAISS's own GPU indexes: takes a selector, and does not look at it."""
    return honest(form, query, width, breadth, None)


def mad(form, query, width, breadth=None, allowed=None):
    """Returns rows without looking at anything."""
    return np.arange(min(width, form.size), dtype=np.intp)


honest = FaissForm.candidates


def simple_filter(rng):
    """(filter, what it says of metadata)."""
    group = int(rng.integers(GROUPS))
    values = tuple(int(value) for value in rng.integers(0, GROUPS, 2))
    choices = (
        (Equals("group", group), lambda m: m["group"] == group),
        (In("group", values), lambda m: m["group"] in values),
        (Range("position", least=2, below=6), lambda m: 2 <= m["position"] < 6),
        (Range("op", above=group), lambda m: m["op"] > group),
        (Exists("absent"), lambda m: False),
    )
    return choices[int(rng.integers(len(choices)))]


def random_filter(rng, depth=2):
    """The same, nested."""
    if depth == 0 or rng.random() < 0.4:
        return simple_filter(rng)
    left, says_left = random_filter(rng, depth - 1)
    right, says_right = random_filter(rng, depth - 1)
    choices = (
        (And((left, right)), lambda m: says_left(m) and says_right(m)),
        (Or((left, right)), lambda m: says_left(m) or says_right(m)),
        (Not(left), lambda m: not says_left(m)),
    )
    return choices[int(rng.integers(len(choices)))]


def metadata_of(state, key):
    return item_of(*state[key], key[1]).metadata


@pytest.mark.parametrize("candidates", [honest, deaf, mad], ids=["honest", "deaf", "mad"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_breaks_filter_tenant_or_delete(
    tmp_path, seed, rounds, tally, monkeypatch, kind, candidates
):
    monkeypatch.setattr(FaissForm, "candidates", candidates)
    ledger, rng = Ledger(), np.random.default_rng([seed, KINDS.index(kind)])
    searches = rounds(6, 300)
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=kind, durability="os"))
        for number in range(60):
            perform(store, operation(seed, number))
            ledger.acknowledge(operation(seed, number))
            if number % 20 == 19:
                assert store.wait_idle()
        for _ in range(searches):
            ask(store, ledger.state, rng)
        removed = delete_fitting(store, ledger, rng)
        for _ in range(3):
            ask(store, ledger.state, rng)
        check(store, [ledger.state], note=f"seed {seed}, without {len(removed)}")
    tally(searches=searches)


def ask(store, state, rng):
    """One search with a random filter: fitting rows only, k where k exist."""
    tenant = TENANTS[int(rng.integers(len(TENANTS)))]
    chosen, says = random_filter(rng)
    fitting = {
        key[1]: origin
        for key, origin in state.items()
        if key[0] == tenant and says(metadata_of(state, key))
    }
    query = rng.standard_normal((2, DIM), dtype=np.float32)
    params = SearchParams(
        k=int(rng.integers(1, 20)),
        with_vectors=True,
        filter=chosen,
        tenant=tenant,
        dimension=int(rng.choice([4, 8, DIM])),
        rerank=bool(rng.integers(2)),
    )
    for hits in store.search(NAME, query, params, space=SPACE).hits:
        assert {hit.id: origin_of(hit) for hit in hits}.items() <= fitting.items()
        assert len(hits) == min(params.k, len(fitting)), (chosen, tenant)
    assert store.count(NAME, filter=chosen, tenant=tenant) == len(fitting)
    seen = store.scroll(NAME, limit=1000, filter=chosen, tenant=tenant).items
    assert {item.id for item in seen} == fitting.keys()


def delete_fitting(store, ledger, rng):
    """Deletes by a random filter: exactly what fits goes, of one tenant."""
    chosen, says = random_filter(rng)
    gone = {key for key in ledger.state if key[0] == "red" and says(metadata_of(ledger.state, key))}
    assert store.delete(NAME, filter=chosen, tenant="red").count == len(gone)
    ledger.state = {key: origin for key, origin in ledger.state.items() if key not in gone}
    assert read_all(store) == ledger.state
    return gone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [4, 8, DIM])
def test_an_exact_search_is_that_of_numpy(tmp_path, seed, rounds, tally, kind, dimension):
    rng = np.random.default_rng([seed, dimension])
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=kind, durability="os"))
        vectors = rng.standard_normal((300, DIM), dtype=np.float32)
        store.upsert(NAME, [Item(f"id{i}", v) for i, v in enumerate(vectors)], space=SPACE)
        assert store.wait_idle()
        store.delete(NAME, [f"id{i}" for i in range(0, 300, 7)])
        live = np.array([i for i in range(300) if i % 7])
        wanted = rounds(5, 200)
        for _ in range(wanted):
            query = rng.standard_normal(DIM, dtype=np.float32)
            params = SearchParams(k=20, exact=True, dimension=dimension)
            hits = store.search(NAME, query[None], params, space=SPACE).hits[0]
            scores = np.array([cosine(vectors[i][:dimension], query[:dimension]) for i in live])
            best = live[np.argsort(-scores, kind="stable")][:20]
            assert [hit.id for hit in hits] == [f"id{i}" for i in best]
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(-scores)[:20] * -1)
    tally(searches=wanted)


POISON = {
    "NaN": np.full(DIM, np.nan, np.float32),
    "infinity": np.full(DIM, np.inf, np.float32),
    "zero": np.zeros(DIM, np.float32),
    "too short": np.ones(DIM - 1, np.float32),
    "too long": np.ones(DIM + 1, np.float32),
    "text": np.array(["a"] * DIM),
    "complex": np.ones(DIM, np.complex64),
    "beyond float32": np.full(DIM, 1e300),
    "nothing": np.empty(0, np.float32),
    "None": None,
}


@pytest.fixture
def held(tmp_path, seed):
    """A store with items, and its ledger."""
    ledger = Ledger()
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec())
        for number in range(20):
            perform(store, operation(seed, number))
            ledger.acknowledge(operation(seed, number))
        yield store, ledger


@pytest.mark.parametrize("vector", POISON.values(), ids=POISON)
def test_poisoned_vectors_are_refused_whole(held, vector):
    store, ledger = held
    good = item_of(1, 1, 1, "good")
    with pytest.raises(KokeshiError):
        store.upsert(NAME, [good, Item("bad", vector)], space=SPACE)
    if vector is not None:
        with pytest.raises(KokeshiError):
            store.search(NAME, [vector], SearchParams(), space=SPACE)
    check(store, [ledger.state])


BAD_WRITES = {
    "an id twice": [item_of(1, 1, 0, "a"), item_of(1, 1, 1, "a")],
    "a long id": [item_of(1, 1, 0, "a" * 10**6)],
    "no id": [item_of(1, 1, 0, "")],
    "an id that is no text": [Item(7, np.ones(DIM))],
    "a control character": [Item("a\x00b", np.ones(DIM))],
    "a lone surrogate": [Item("a\ud800", np.ones(DIM))],
    "no items": [],
    "metadata that are no object": [Item("a", np.ones(DIM), [1])],
    "metadata with NaN": [Item("a", np.ones(DIM), {"x": float("nan")})],
    "metadata with bytes": [Item("a", np.ones(DIM), {"x": b"x"})],
    "large metadata": [Item("a", np.ones(DIM), {"x": "y" * 10**6})],
}


@pytest.mark.parametrize("items", BAD_WRITES.values(), ids=BAD_WRITES)
def test_bad_writes_are_refused_whole(held, items):
    store, ledger = held
    with pytest.raises(KokeshiError):
        store.upsert(NAME, items, space=SPACE)
    check(store, [ledger.state])


BAD_SEARCHES = {
    "k of 0": {"k": 0},
    "k below 0": {"k": -1},
    "a huge k": {"k": 10**9},
    "an untrained length": {"dimension": 5},
    "a shortlist below k": {"k": 10, "shortlist": 3, "rerank": True},
    "an unknown field type": {"filter": "group = 1"},
}


@pytest.mark.parametrize("params", BAD_SEARCHES.values(), ids=BAD_SEARCHES)
def test_bad_searches_are_refused(held, params):
    store, _ = held
    with pytest.raises(KokeshiError):
        store.search(NAME, np.ones((1, DIM)), SearchParams(**params), space=SPACE)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_collection_answers_with_nothing(tmp_path, kind):
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=kind))
        assert store.search(NAME, np.ones((2, DIM)), SearchParams(), space=SPACE).hits == ((), ())
        assert store.count(NAME) == 0
        assert store.scroll(NAME).items == ()
        item = item_of(1, 1, 1, "one")
        store.upsert(NAME, [item], space=SPACE)
        store.delete(NAME, ["one"])
        assert store.search(NAME, np.ones((1, DIM)), SearchParams(), space=SPACE).hits == ((),)


@pytest.mark.parametrize("kind", KINDS)
def test_more_asked_for_than_there_are_gives_all(tmp_path, seed, kind):
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=kind))
        items = [item_of(seed, 0, i, f"id{i}") for i in range(130)]
        store.upsert(NAME, items, space=SPACE)
        assert store.wait_idle()
        for rerank in (False, True):
            params = SearchParams(k=1000, rerank=rerank)
            hits = store.search(NAME, np.ones((1, DIM)), params, space=SPACE).hits[0]
            assert {hit.id for hit in hits} == {item.id for item in items}
        wanted = group_of("id0", (seed, 0, 0))
        params = SearchParams(k=1000, filter=Equals("group", wanted))
        hits = store.search(NAME, np.ones((1, DIM)), params, space=SPACE).hits[0]
        assert {hit.metadata["group"] for hit in hits} == {wanted}
        assert len(hits) == store.count(NAME, filter=Equals("group", wanted))
