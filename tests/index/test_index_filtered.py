"""Filtered searches: k rows that fit where k exist, however few, whatever proposes them."""

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.collection import Collection
from kokeshi.index.filters import And, Equals, Not, Range

SPACE = "0123456789abcdef"
ROWS, DIM = 4000, 32
KINDS = ("flat", "codes", "hnsw", "ivf", "panorama")


def numbered(vectors):
    return [
        Item(f"id{i}", vector, {"number": i, "share": i % 1000}) for i, vector in enumerate(vectors)
    ]


@pytest.fixture(params=KINDS)
def filled(tmp_path, clustered, request):
    """A collection of each kind, a tenth of it deleted again."""
    tuning = Tuning(
        tail_rows=500, segment_rows=1500, dead_share=1.0, gather_rows=50, walk_share=0.1
    )
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("a", SPACE, DIM, dimensions=(16, DIM), index=request.param))
        store.upsert("a", numbered(clustered(ROWS, DIM)), space=SPACE)
        store.delete("a", [f"id{i}" for i in range(0, ROWS, 10)])
        assert store.wait_idle()
        assert store.describe("a").kind == request.param
        yield store


# shares of the rows: a thousandth, a hundredth, a tenth, a half, all
@pytest.mark.parametrize("below", [1, 10, 100, 500, 1000])
def test_k_rows_that_fit_are_found_whatever_the_selectivity(filled, clustered, below):
    vectors = clustered(ROWS, DIM)
    numbers = np.arange(ROWS)
    fitting = numbers[(numbers % 10 != 0) & (numbers % 1000 < below)]
    queries = clustered(10, DIM, seed=3)
    params = SearchParams(10, filter=Range("share", below=below))
    found = filled.search("a", queries, params, space=SPACE)
    agreed = 0
    for query, hits in zip(queries, found.hits, strict=True):
        ids = {hit.metadata["number"] for hit in hits}
        assert len(ids) == min(10, len(fitting))
        assert ids <= set(fitting.tolist())
        best = fitting[np.argsort(-(vectors[fitting] @ query))[:10]]
        agreed += len(ids & set(best.tolist()))
    assert agreed >= 0.95 * 10 * min(10, len(fitting))


def test_every_row_that_fits_is_found_when_k_is_beyond_them(filled, clustered):
    params = SearchParams(1000, filter=Range("number", least=100, below=200))
    hits = filled.search("a", clustered(1, DIM), params, space=SPACE).hits[0]
    assert {hit.metadata["number"] for hit in hits} == {i for i in range(100, 200) if i % 10}


def test_a_delete_by_filter_is_whole_and_counts(filled):
    before = filled.describe("a").seq
    wanted = And((Range("number", below=1000), Not(Equals("share", 7))))
    receipt = filled.delete("a", filter=wanted)
    assert (receipt.seq, receipt.count) == (before + 1, 899)
    assert filled.count("a") == ROWS - ROWS // 10 - 899
    assert filled.count("a", filter=Range("number", below=1000)) == 1
    assert filled.delete("a", filter=wanted).count == 0
    assert [item.id for item in filled.scroll("a", limit=1).items] == ["id7"]


def test_a_scroll_by_filter_pages_through_what_fits(filled):
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = filled.scroll("a", cursor=cursor, limit=7, filter=Range("number", least=3900))
        seen += [item.metadata["number"] for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [i for i in range(3900, 4000) if i % 10]


@pytest.mark.parametrize(
    "call",
    [
        lambda store, bad: store.search(
            "a", np.ones((1, DIM)), SearchParams(filter=bad), space=SPACE
        ),
        lambda store, bad: store.count("a", filter=bad),
        lambda store, bad: store.scroll("a", filter=bad),
        lambda store, bad: store.delete("a", filter=bad),
    ],
)
def test_a_filter_that_cannot_be_right_is_refused(store, call):
    store.create(CollectionSpec("a", SPACE, DIM))
    with pytest.raises(InvalidRequestError):
        call(store, Equals("", 1))
    with pytest.raises(InvalidRequestError):
        call(store, "number > 3")


def test_a_delete_takes_ids_or_a_filter(faces):
    with pytest.raises(InvalidRequestError, match="ids or a filter"):
        faces.delete("faces")
    with pytest.raises(InvalidRequestError, match="ids or a filter"):
        faces.delete("faces", ["a"], filter=Equals("x", 1))


class Disobedient:
    """A form that proposes what it was told not to, as one on a GPU may."""

    def __init__(self, form):
        self._form = form

    def __getattr__(self, name):
        return getattr(self._form, name)

    def candidates_of(self, queries, width, breadth=None, allowed=None):
        return self._form.candidates_of(queries, width, breadth)


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "panorama"])
def test_what_a_form_proposes_against_its_selector_is_never_an_answer(tmp_path, clustered, kind):
    tuning = Tuning(tail_rows=500, dead_share=1.0, gather_rows=5, gather_share=0.0, walk_share=0)
    vectors = clustered(2000, DIM)
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("a", SPACE, DIM, index=kind))
        for tenant in ("ann", "bob"):
            store.upsert("a", numbered(vectors), space=SPACE, tenant=tenant)
        assert store.wait_idle()
        collection: Collection = store._collections["a"]
        snapshot = collection.snapshot
        collection.adopt_form(Disobedient(snapshot.form), snapshot)
        gone = {f"id{i}" for i in range(0, 2000, 3)}
        store.delete("a", sorted(gone), tenant="ann")
        params = SearchParams(20, tenant="ann", filter=Range("share", below=400))
        for hits in store.search("a", vectors[:30], params, space=SPACE).hits:
            assert len(hits) == 20
            assert all(hit.metadata["share"] < 400 for hit in hits)
            assert not gone & {hit.id for hit in hits}
