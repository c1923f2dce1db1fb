"""Searches: what every store has to keep."""

import numpy as np
import pytest
from contract import (
    DIM,
    DIMENSIONS,
    METRICS,
    SPACE,
    ids,
    items_of,
    nearest,
    one,
    scores_of,
    vectors_of,
)

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.index import Item, SearchParams
from kokeshi.index.filters import Equals, Range

ROWS = 400


def _told(scores, metric):
    """As a hit tells scores: distances are positive."""
    return -scores if metric == "l2" else scores


@pytest.mark.parametrize("metric", METRICS)
def test_exact_neighbours_at_every_trained_length_are_those_by_the_book(subject, metric):
    name = subject.create(metric=metric)
    vectors = vectors_of(ROWS)
    subject.fill(name, vectors)
    for query in vectors_of(3, seed=1):
        for dimension in (*DIMENSIONS, None):
            length = dimension or DIM
            found = subject.found(name, [query], k=7, dimension=dimension, exact=True)
            places = nearest(vectors, query, metric, length, 7)
            assert ids(found.hits[0]) == [f"id{place}" for place in places]
            expected = _told(scores_of(vectors, query, metric, length)[places], metric)
            np.testing.assert_allclose([hit.score for hit in found.hits[0]], expected, rtol=2e-6)
            assert (found.dimension, found.is_exact) == (length, True)
            assert found.higher_is_better == (metric != "l2")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "params",
    [{}, {"dimension": 4}, {"dimension": 8}, {"dimension": 16}, {"rerank": True},
     {"rerank": True, "dimension": 8, "shortlist": 200}, {"breadth": 256}],
    ids=str,
)  # fmt: skip
def test_neighbours_found_by_any_way_are_scored_by_the_book(subject, metric, params):
    name = subject.create(metric=metric)
    vectors = vectors_of(ROWS)
    subject.fill(name, vectors)
    length = DIM if params.get("rerank") else params.get("dimension", DIM)
    right = 0
    for query in vectors_of(5, seed=2):
        found = subject.found(name, [query], k=10, **params)
        scores = scores_of(vectors, query, metric, length)
        places = [int(hit.id[2:]) for hit in found.hits[0]]
        assert len(set(places)) == 10
        told = [hit.score for hit in found.hits[0]]
        np.testing.assert_allclose(told, _told(scores[places], metric), rtol=2e-6, atol=1e-7)
        assert (np.diff(scores[places]) <= 1e-7).all()
        assert found.dimension == length
        right += len(set(places) & set(nearest(vectors, query, metric, length, 10)))
    assert right >= 45


@pytest.mark.parametrize("index", ["flat", "codes", "hnsw", "ivf", "panorama"])
def test_every_kind_of_index_that_is_declared_finds_neighbours(subject, index):
    name = subject.create(index=index)
    vectors = vectors_of(ROWS)
    subject.fill(name, vectors)
    query = vectors_of(1, seed=3)[0]
    places = nearest(vectors, query, "cosine", DIM, 10)
    assert len(set(ids(subject.search(name, query))) & {f"id{place}" for place in places}) >= 8
    hits = subject.search(name, query, exact=True)
    assert ids(hits) == [f"id{place}" for place in places]


@pytest.mark.parametrize("graph_dimension", [8, 16])
def test_a_graph_over_a_prefix_serves_every_length(subject, graph_dimension):
    name = subject.create(index="hnsw", graph_dimension=graph_dimension)
    vectors = vectors_of(ROWS)
    subject.fill(name, vectors)
    for query in vectors_of(3, seed=4):
        for dimension in DIMENSIONS:
            expected = nearest(vectors, query, "cosine", dimension, 10)
            got = ids(subject.search(name, query, dimension=dimension))
            assert len({f"id{place}" for place in expected} & set(got)) >= 8


def test_queries_may_be_cut_already(subject):
    name = subject.create()
    subject.fill(name, vectors_of(50))
    query = vectors_of(1, seed=5)[0]
    whole = subject.search(name, query, dimension=8)
    cut = subject.search(name, query[:8], dimension=8)
    assert [(hit.id, hit.score) for hit in whole] == [(hit.id, hit.score) for hit in cut]


def test_a_prefix_without_direction_scores_nothing_under_cosine(subject):
    name = subject.create()
    vectors = vectors_of(5)
    vectors[2, :8] = 0
    subject.put(name, items_of(vectors))
    query = vectors_of(1, seed=6)[0]
    scores = {hit.id: hit.score for hit in subject.search(name, query, dimension=8, k=5)}
    assert len(scores) == 5
    assert scores["id2"] == 0


def test_the_length_of_a_vector_does_not_matter_under_cosine(subject):
    name = subject.create()
    vectors = vectors_of(30)
    scales = np.logspace(-6, 6, 30, dtype=np.float32)[:, None]
    subject.put(name, items_of(vectors * scales))
    query = vectors_of(1, seed=7)[0]
    for size in (1e-6, 1, 1e6):
        hits = subject.search(name, query * np.float32(size), exact=True, k=30)
        places = [int(hit.id[2:]) for hit in hits]
        np.testing.assert_allclose(
            [hit.score for hit in hits],
            scores_of(vectors * scales, query, "cosine", DIM)[places],
            atol=1e-6,
        )
        assert (np.diff([hit.score for hit in hits]) <= 0).all()


def test_an_inner_product_counts_lengths_and_takes_a_zero_vector(subject):
    name = subject.create(metric="ip", dim=4)
    rows = np.array([[1, 0, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 0]], np.float32)
    subject.put(name, items_of(rows))
    hits = subject.search(name, rows[0], exact=True)
    assert [(hit.id, hit.score) for hit in hits] == [
        ("id1", 5), ("id0", 1), ("id2", 0), ("id3", -1)
    ]  # fmt: skip


def test_distances_in_a_hyperbolic_ball_are_those_by_the_book(subject):
    name = subject.create(metric="hyperbolic", dim=3, curvature=0.7)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    subject.put(name, items_of(points))
    query = points[0].astype(np.float64)
    gaps = ((points.astype(np.float64) - query) ** 2).sum(axis=1)
    rests = 1 - 0.7 * (points.astype(np.float64) ** 2).sum(axis=1)
    distances = np.arccosh(1 + 2 * 0.7 * gaps / (rests * rests[0])) / np.sqrt(0.7)
    hits = subject.search(name, points[0], k=50)
    assert ids(hits) == [f"id{place}" for place in np.argsort(distances, kind="stable")]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(distances), atol=1e-5)


def test_equal_scores_stand_in_the_order_of_insertion(subject):
    name = subject.create()
    vector = vectors_of(1)[0]
    for start in range(0, 40, 8):
        subject.put(name, [Item(f"id{start + place}", vector) for place in range(8)])
    for params in ({"exact": True}, {}, {"rerank": True}):
        hits = subject.search(name, vector, k=40, **params)
        assert ids(hits) == [f"id{place}" for place in range(40)]
        assert len({hit.score for hit in hits}) == 1


def test_there_are_no_more_hits_than_items(subject):
    name = subject.create()
    subject.fill(name, vectors_of(12))
    query = vectors_of(1, seed=8)[0]
    for params in ({}, {"exact": True}, {"rerank": True}, {"dimension": 4}):
        assert len(set(ids(subject.search(name, query, k=500, **params)))) == 12


def test_an_empty_collection_has_no_neighbours(subject):
    name = subject.create()
    for params in ({}, {"exact": True}, {"rerank": True}, {"dimension": 4}):
        found = subject.found(name, vectors_of(2), **params)
        assert found.hits == ((), ())
    subject.put(name, [one()])
    subject.store.delete(name, ["a"])
    assert subject.found(name, vectors_of(2)).hits == ((), ())


def test_many_queries_are_answered_as_each_alone(subject):
    name = subject.create()
    subject.fill(name, vectors_of(100))
    queries = vectors_of(20, seed=9)
    together = subject.found(name, queries, k=5, exact=True).hits
    for query, hits in zip(queries, together, strict=True):
        alone = subject.search(name, query, k=5, exact=True)
        assert [(hit.id, hit.score) for hit in alone] == [(hit.id, hit.score) for hit in hits]


def test_hits_carry_metadata_and_the_bytes_of_their_vectors(subject):
    name = subject.create()
    vectors = vectors_of(20)
    subject.fill(name, vectors)
    for params in ({"exact": True}, {}, {"rerank": True}):
        for hit in subject.search(name, vectors[4], with_vectors=True, **params):
            number = int(hit.id[2:])
            assert hit.metadata == {"number": number}
            assert hit.vector.tobytes() == vectors[number].tobytes()
        assert subject.search(name, vectors[4], **params)[0].vector is None


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("exact", [True, False])
def test_a_threshold_keeps_what_is_near_enough(subject, metric, exact):
    name = subject.create(metric=metric)
    vectors = vectors_of(60)
    subject.fill(name, vectors)
    query = vectors_of(1, seed=10)[0]
    scores = np.sort(scores_of(vectors, query, metric, DIM))[::-1]
    threshold = float(_told((scores[4] + scores[5]) / 2, metric))
    hits = subject.search(name, query, k=20, threshold=threshold, exact=exact)
    assert len(hits) == 5
    hits = subject.search(name, query, k=3, threshold=threshold, exact=exact)
    assert len(hits) == 3
    best = float(_told(scores[0] + 1, metric))
    assert subject.search(name, query, threshold=best, exact=exact) == ()


def test_a_search_sees_the_write_that_it_asks_for(subject):
    if not subject.capabilities.read_your_writes:
        pytest.skip("declared: no reading of one's own writes")
    name = subject.create()
    vectors = vectors_of(40)
    for item in items_of(vectors):
        seq = subject.put(name, [item]).seq
        found = subject.found(name, [item.vector], k=1, min_seq=seq)
        assert ids(found.hits[0]) == [item.id]
        assert found.seq >= seq
    seq = subject.store.delete(name, ["id7"]).seq
    assert "id7" not in ids(subject.search(name, vectors[7], k=40, min_seq=seq))


def test_a_replaced_vector_is_found_at_its_new_place_only(subject):
    name = subject.create()
    vectors = vectors_of(30)
    subject.fill(name, vectors)
    moved = -vectors[3]
    subject.put(name, [Item("id3", moved)])
    assert ids(subject.search(name, moved, k=1)) == ["id3"]
    hits = subject.search(name, vectors[3], k=30)
    assert ids(hits)[-1] == "id3"
    assert ids(hits).count("id3") == 1


@pytest.mark.parametrize("dimension", [0, -1, 5, 64, 31])
def test_a_length_that_was_not_trained_is_refused(subject, dimension):
    name = subject.create()
    subject.put(name, [one()])
    with pytest.raises(DimensionError):
        subject.search(name, vectors_of(1)[0], dimension=dimension)


@pytest.mark.parametrize(
    "params",
    [
        {"k": 0},
        {"k": -1},
        {"k": 1_000_000},
        {"exact": True, "rerank": True},
        {"shortlist": 50},
        {"rerank": True, "shortlist": 2},
        {"threshold": float("nan")},
        {"breadth": 0},
        {"min_seq": -1},
    ],
    ids=str,
)
def test_a_search_that_cannot_be_obeyed_is_refused(subject, params):
    name = subject.create()
    subject.put(name, [one()])
    with pytest.raises(InvalidRequestError):
        subject.search(name, vectors_of(1)[0], **params)


@pytest.mark.parametrize(
    "queries",
    [
        np.full((1, DIM), np.nan, np.float32),
        np.full((1, DIM), np.inf, np.float32),
        np.zeros((1, DIM), np.float32),
        np.ones((1, DIM - 1), np.float32),
        np.ones(DIM, np.float32),
        np.ones((0, DIM), np.float32),
        np.ones((2, 2, DIM), np.float32),
        np.ones((1001, DIM), np.float32),
        np.array([["a"] * DIM]),
    ],
    ids=["nan", "inf", "zero", "short", "1d", "none", "3d", "many", "text"],
)
def test_a_query_that_cannot_be_compared_is_refused(subject, queries):
    name = subject.create()
    subject.put(name, [one()])
    with pytest.raises(InvalidRequestError):
        subject.store.search(name, queries, SearchParams(), space=SPACE)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("params", [{}, {"exact": True}, {"rerank": True}, {"dimension": 8}])
def test_k_items_that_fit_are_found_where_k_exist(subject, share, params):
    name = subject.create()
    vectors = vectors_of(ROWS)
    subject.fill(name, vectors)
    fitting = int(share * ROWS)
    asked = Range("number", least=ROWS - fitting)
    length = params.get("dimension", DIM)
    for query in vectors_of(3, seed=11):
        hits = subject.search(name, query, k=10, filter=asked, **params)
        places = [int(hit.id[2:]) for hit in hits]
        assert all(place >= ROWS - fitting for place in places)
        assert len(hits) == min(10, fitting)
        expected = nearest(vectors[-fitting:], query, "cosine", length, 10) + ROWS - fitting
        assert len(set(places) & set(expected.tolist())) >= 0.8 * len(expected)


def test_the_far_end_of_a_collection_is_found_through_a_filter(subject):
    name = subject.create()
    vectors = vectors_of(ROWS, norm=True)
    query = vectors_of(1, seed=12)[0]
    last = int(nearest(vectors, query, "cosine", DIM, ROWS)[-1])
    subject.fill(name, vectors)
    for params in ({}, {"exact": True}, {"rerank": True}):
        hits = subject.search(name, query, filter=Equals("number", last), **params)
        assert ids(hits) == [f"id{last}"]
