"""Searches against brute force in float64."""

import numpy as np
import pytest

from kokeshi.errors import DimensionError, InvalidRequestError, SpaceMismatchError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning

SPACE = "0123456789abcdef"


def brute_force(vectors, query, metric, dimension, k):
    """Positions and scores of the k nearest, ties in order."""
    prefixes = vectors[:, :dimension].astype(np.float64)
    prefix = query[:dimension].astype(np.float64)
    if metric == "l2":
        scores = np.linalg.norm(prefixes - prefix, axis=1)
        order = np.argsort(scores, kind="stable")
    else:
        norms = np.linalg.norm(prefixes, axis=1) * np.linalg.norm(prefix)
        scores = prefixes @ prefix / norms
        order = np.argsort(-scores, kind="stable")
    return order[:k], scores


def assert_matches(hits, vectors, query, metric, dimension, k):
    best, scores = brute_force(vectors, query, metric, dimension, k)
    found = [int(hit.id[2:]) for hit in hits]
    np.testing.assert_allclose([hit.score for hit in hits], scores[best], atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose([hit.score for hit in hits], scores[found], atol=1e-6, rtol=1e-6)
    assert len(set(found)) == len(best)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("dimension", [4, 8, 16])
@pytest.mark.parametrize("tail_rows", [100, 10_000], ids=["indexed", "tail only"])
def test_every_trained_length_finds_what_brute_force_finds(
    tmp_path, clustered, fill, metric, dimension, tail_rows
):
    vectors = clustered(1500, 16) * (1 if metric == "cosine" else 30)
    queries = clustered(5, 16, seed=1)
    with EmbeddedStore(tmp_path, Tuning(tail_rows=tail_rows, segment_rows=tail_rows)) as store:
        spec = CollectionSpec("faces", SPACE, 16, dimensions=(4, 8, 16), metric=metric)
        store.create(spec)
        fill(store, "faces", vectors, batch=300)
        assert store.wait_idle()
        found = store.search("faces", queries, SearchParams(7, dimension), space=SPACE)
    assert found.is_exact
    assert found.dimension == dimension
    assert found.higher_is_better == (metric == "cosine")
    for query, hits in zip(queries, found.hits, strict=True):
        assert_matches(hits, vectors, query, metric, dimension, 7)


@pytest.mark.parametrize("size", [1, 2, 70])
def test_a_batch_of_queries_answers_as_single_ones_do(faces, clustered, fill, size):
    fill(faces, "faces", clustered(800, 16))
    queries = clustered(size, 16, seed=2)
    together = faces.search("faces", queries, SearchParams(5), space=SPACE).hits
    alone = [faces.search("faces", query[None], SearchParams(5), space=SPACE) for query in queries]
    assert [[(hit.id, hit.score) for hit in hits] for hits in together] == [
        [(hit.id, hit.score) for hit in found.hits[0]] for found in alone
    ]


@pytest.mark.parametrize("tail_rows", [50, 10_000], ids=["indexed", "tail only"])
def test_deleted_and_replaced_rows_are_never_found(tmp_path, clustered, items, fill, tail_rows):
    vectors = clustered(1000, 16)
    with EmbeddedStore(
        tmp_path, Tuning(tail_rows=tail_rows, segment_rows=tail_rows, dead_share=1.0)
    ) as store:
        store.create(CollectionSpec("faces", SPACE, 16))
        fill(store, "faces", vectors)
        assert store.wait_idle()
        store.delete("faces", [f"id{i}" for i in range(0, 1000, 3)])
        moved = clustered(100, 16, seed=9)
        store.upsert("faces", items(moved, first=1), space=SPACE)
        alive = {i: vectors[i] for i in range(1000) if i % 3}
        alive |= dict(enumerate(moved, start=1))
        ids, rows = np.asarray(list(alive)), np.stack(list(alive.values()))
        for query in (vectors[0], vectors[5], moved[3]):
            hits = store.search("faces", query[None], SearchParams(50), space=SPACE).hits[0]
            best, scores = brute_force(rows, query, "cosine", 16, 50)
            assert {int(hit.id[2:]) for hit in hits} == set(ids[best].tolist())
            np.testing.assert_allclose([hit.score for hit in hits], scores[best], atol=1e-6)
        everything = store.search("faces", query[None], SearchParams(5000), space=SPACE).hits[0]
        assert {int(hit.id[2:]) for hit in everything} == set(alive)


def test_equal_vectors_score_equal_and_stand_in_the_order_of_insertion(faces, clustered, items):
    background, twin = clustered(500, 16), clustered(1, 16, seed=5)[0]
    vectors = background.copy()
    vectors[3::7] = twin  # at positions that fall into different lanes and kernels
    faces.upsert("faces", items(vectors), space=SPACE)
    expected = [f"id{i}" for i in range(3, 500, 7)]
    hits = faces.search("faces", twin[None], SearchParams(20), space=SPACE).hits[0]
    assert [hit.id for hit in hits] == expected[:20]
    assert len({hit.score for hit in hits}) == 1
    assert hits[0].score == pytest.approx(1.0)


@pytest.mark.parametrize(("rows", "tail_rows"), [(3000, 10_000), (6000, 500)])
def test_two_stages_agree_with_one_on_the_first_ten(tmp_path, clustered, fill, rows, tail_rows):
    vectors, queries = clustered(rows, 256), clustered(100, 256, seed=3)
    with EmbeddedStore(tmp_path, Tuning(tail_rows=tail_rows, segment_rows=tail_rows)) as store:
        store.create(CollectionSpec("faces", SPACE, 256, dimensions=(16, 32, 64, 128, 256)))
        fill(store, "faces", vectors)
        assert store.wait_idle()
        exact = store.search("faces", queries, SearchParams(10, exact=True), space=SPACE)
        staged = store.search("faces", queries, SearchParams(10, rerank=True), space=SPACE)
    assert exact.is_exact
    assert not staged.is_exact
    agreed = [
        len({hit.id for hit in one} & {hit.id for hit in two})
        for one, two in zip(exact.hits, staged.hits, strict=True)
    ]
    assert sum(agreed) / 1000 >= 0.995
    best = staged.hits[0][0]
    assert best.score == next(hit.score for hit in exact.hits[0] if hit.id == best.id)


def test_a_shortlist_as_long_as_the_collection_is_exact(faces, clustered, fill):
    fill(faces, "faces", clustered(300, 16))
    params = SearchParams(10, dimension=4, rerank=True, shortlist=300)
    assert faces.search("faces", clustered(1, 16, seed=1), params, space=SPACE).is_exact
    params = SearchParams(10, dimension=4, rerank=True, shortlist=20)
    assert not faces.search("faces", clustered(1, 16, seed=1), params, space=SPACE).is_exact


def test_queries_of_the_caller_are_not_changed(faces, clustered, fill):
    # A contiguous slice of one row is a view: scaling it would scale the caller's query.
    fill(faces, "faces", clustered(100, 16))
    queries = clustered(1, 16, seed=1) * 5
    before = queries.copy()
    for params in (SearchParams(3), SearchParams(3, 4), SearchParams(3, 4, rerank=True)):
        faces.search("faces", queries, params, space=SPACE)
        np.testing.assert_array_equal(queries, before)


def test_vectors_of_the_caller_may_change_after_an_upsert(faces, clustered, items):
    vectors = clustered(10, 16)
    before = vectors.copy()
    faces.upsert("faces", items(vectors), space=SPACE)
    vectors *= -1
    hits = faces.search("faces", before[:1], SearchParams(1), space=SPACE).hits[0]
    assert hits[0].id == "id0"
    np.testing.assert_array_equal(
        faces.get("faces", ["id0"], with_vectors=True)[0].vector, before[0]
    )


def test_a_query_may_be_cut_already(faces, clustered, fill):
    fill(faces, "faces", clustered(100, 16))
    query = clustered(1, 16, seed=1)
    whole = faces.search("faces", query, SearchParams(3, 8), space=SPACE).hits[0]
    cut = faces.search("faces", query[:, :8], SearchParams(3, 8), space=SPACE).hits[0]
    assert [(hit.id, hit.score) for hit in whole] == [(hit.id, hit.score) for hit in cut]


def test_an_empty_collection_has_no_hits_and_k_beyond_the_count_finds_all(faces, items):
    query = np.ones((1, 16), np.float32)
    assert faces.search("faces", query, SearchParams(3), space=SPACE).hits == ((),)
    faces.upsert("faces", items(np.eye(16, dtype=np.float32)[:3]), space=SPACE)
    assert len(faces.search("faces", query, SearchParams(99), space=SPACE).hits[0]) == 3


def test_hits_carry_metadata_and_vectors_when_asked(faces, items):
    vectors = np.diag(np.arange(1, 17, dtype=np.float32))
    faces.upsert("faces", items(vectors), space=SPACE)
    params = SearchParams(1, with_vectors=True)
    hit = faces.search("faces", vectors[6:7], params, space=SPACE).hits[0][0]
    assert (hit.id, hit.metadata) == ("id6", {"number": 6})
    np.testing.assert_array_equal(hit.vector, vectors[6])  # as given, not normalised
    assert (
        faces.search("faces", vectors[:1], SearchParams(1), space=SPACE).hits[0][0].vector is None
    )


def test_a_prefix_without_direction_scores_zero(faces):
    vector = np.zeros(16, np.float32)
    vector[15] = 1
    faces.upsert("faces", [Item("late", vector)], space=SPACE)
    query = np.ones((1, 16), np.float32)
    assert faces.search("faces", query, SearchParams(1, 4), space=SPACE).hits[0][0].score == 0
    with pytest.raises(InvalidRequestError, match="no direction"):
        faces.search("faces", vector[None], SearchParams(1, 4), space=SPACE)
    params = SearchParams(1, 4, rerank=True)
    assert faces.search("faces", vector[None], params, space=SPACE).hits[0][0].score == 1


def test_huge_and_tiny_vectors_keep_their_direction(faces):
    rows = [Item("huge", np.full(16, 3e38)), Item("tiny", np.full(16, -1e-44))]
    faces.upsert("faces", rows, space=SPACE)
    query = np.full((1, 16), 1e-44)
    hits = faces.search("faces", query, SearchParams(2), space=SPACE).hits[0]
    assert [(hit.id, round(hit.score, 6)) for hit in hits] == [("huge", 1.0), ("tiny", -1.0)]


def test_an_untrained_length_is_refused_with_the_trained_ones_named(faces):
    with pytest.raises(DimensionError, match=r"4, 8, 16, got 5"):
        faces.search("faces", np.ones((1, 16)), SearchParams(1, 5), space=SPACE)


def test_another_space_is_refused_with_both_named(faces):
    other = "f" * 16
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{other}"):
        faces.search("faces", np.ones((1, 16)), SearchParams(), space=other)
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{other}"):
        faces.upsert("faces", [Item("a", np.ones(16))], space=other)


@pytest.mark.parametrize(
    ("vectors", "params", "message"),
    [
        (np.ones((1, 15)), SearchParams(), "16 values, got 15"),
        (np.ones((1, 4)), SearchParams(1, 4, rerank=True), "16 values, got 4"),
        (np.ones(16), SearchParams(), "shape"),
        (np.ones((0, 16)), SearchParams(), "shape"),
        (np.full((1, 16), np.nan), SearchParams(), "NaN"),
        (np.full((1, 16), 1e300), SearchParams(), "infinity"),
        (np.zeros((1, 16)), SearchParams(), "all zero"),
        (np.full((1, 16), "x"), SearchParams(), "numbers"),
        ([[1.0, 2.0], [1.0]], SearchParams(), "one length"),
        (np.ones((1, 16)), SearchParams(0), "k must be in 1..10000, got 0"),
        (np.ones((1, 16)), SearchParams(10_001), "got 10001"),
        (np.ones((11, 16)), SearchParams(10_000), "queries times k"),
        (np.ones((1, 16)), SearchParams(exact=True, rerank=True), "both"),
        (np.ones((1, 16)), SearchParams(shortlist=20), "rerank only"),
        (np.ones((1, 16)), SearchParams(30, rerank=True, shortlist=20), "at least k = 30"),
        (np.ones((1, 16)), SearchParams(rerank=True, shortlist=1_000_001), "at most 1000000"),
    ],
)
def test_a_search_that_cannot_be_right_is_refused(faces, vectors, params, message):
    with pytest.raises(InvalidRequestError, match=message):
        faces.search("faces", vectors, params, space=SPACE)
