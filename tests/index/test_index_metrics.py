"""Each metric, by each kind of index, against brute force in float64."""

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning

SPACE = "0123456789abcdef"
ROWS, DIM = 3000, 32


def made_vectors(metric, rows, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, DIM)) * np.arange(1, DIM + 1) ** -0.5
    if metric == "hyperbolic":
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors *= np.tanh(rng.uniform(0.1, 4, (rows, 1))) / norms
    elif metric != "cosine":
        vectors *= rng.uniform(0.5, 20, (rows, 1))
    return vectors.astype(np.float32)


def brute_force(metric, vectors, query, curvature=1.0):
    """Scores of all rows, as `Hit.score` has them."""
    rows, one = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "ip":
        return rows @ one
    if metric == "l2":
        return np.linalg.norm(rows - one, axis=1)
    if metric == "hyperbolic":
        rows, one = rows * np.sqrt(curvature), one * np.sqrt(curvature)
        gaps = np.square(rows - one).sum(axis=1)
        rests = (1 - np.square(rows).sum(axis=1)) * (1 - one @ one)
        return np.arccosh(1 + 2 * gaps / rests) / np.sqrt(curvature)
    return rows @ one / np.linalg.norm(rows, axis=1) / np.linalg.norm(one)


def best_of(metric, scores, k):
    order = np.argsort(scores, kind="stable")
    return (order[::-1] if metric in {"cosine", "ip"} else order)[:k]


KINDS = [
    (metric, index)
    for metric in ("cosine", "ip", "l2", "hyperbolic")
    for index in ("flat", "codes", "hnsw", "ivf", "panorama")
    if metric != "hyperbolic" or index == "flat"
]


@pytest.mark.parametrize(("metric", "index"), KINDS)
def test_every_kind_finds_what_brute_force_finds(tmp_path, fill, metric, index):
    vectors, queries = made_vectors(metric, ROWS, 0), made_vectors(metric, 20, 1)
    tuning = Tuning(tail_rows=500, segment_rows=1000, ef_search=64)
    dimensions = (DIM,) if metric == "hyperbolic" else (16, DIM)
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(
            CollectionSpec("a", SPACE, DIM, metric=metric, index=index, dimensions=dimensions)
        )
        fill(store, "a", vectors[:2600])
        assert store.wait_idle()
        fill_rest(store, vectors)
        info = store.describe("a")
        # distances have no codes: a shortlist is taken by float32 prefixes
        assert info.kind == ("flat" if (metric, index) == ("l2", "codes") else index)
        exact = store.search("a", queries, SearchParams(10, exact=True), space=SPACE)
        found = store.search("a", queries, SearchParams(10), space=SPACE)
    assert exact.is_exact
    assert exact.route.kind == "flat"
    agreed = 0
    for query, one, two in zip(queries, exact.hits, found.hits, strict=True):
        scores = brute_force(metric, vectors, query)
        best = best_of(metric, scores, 10)
        assert [hit.id for hit in one] == [f"id{i}" for i in best]
        np.testing.assert_allclose([hit.score for hit in one], scores[best], rtol=1e-6, atol=1e-6)
        assert len(two) == 10
        agreed += len({hit.id for hit in one} & {hit.id for hit in two})
    assert agreed >= 0.9 * 10 * len(queries)
    if index in {"flat", "panorama"}:
        assert found.is_exact
        assert agreed == 10 * len(queries)


def fill_rest(store, vectors):
    rest = [Item(f"id{i}", vectors[i]) for i in range(2600, ROWS)]
    store.upsert("a", rest, space=SPACE)


def test_a_prefix_under_inner_product_is_the_partial_product(store):
    store.create(CollectionSpec("a", SPACE, 4, dimensions=(2, 4), metric="ip"))
    rows = {"near": [3, 0, 0, 0], "far": [1, 1, 90, 0], "zero": [0, 0, 0, 0]}
    store.upsert(
        "a", [Item(name, np.asarray(v, np.float32)) for name, v in rows.items()], space=SPACE
    )
    query = np.asarray([[1.0, 0.5, 1.0, 0.0]])
    cut = store.search("a", query, SearchParams(3, 2), space=SPACE).hits[0]
    assert [(hit.id, hit.score) for hit in cut] == [("near", 3.0), ("far", 1.5), ("zero", 0.0)]
    full = store.search("a", query, SearchParams(3), space=SPACE).hits[0]
    assert [(hit.id, hit.score) for hit in full] == [("far", 91.5), ("near", 3.0), ("zero", 0.0)]


@pytest.mark.parametrize("curvature", [1.0, 0.25, 9.0])
def test_hyperbolic_distances_are_those_of_the_ball_of_its_curvature(store, curvature):
    vectors = made_vectors("hyperbolic", 200, 3) / np.float32(np.sqrt(curvature))
    store.create(CollectionSpec("a", SPACE, DIM, metric="hyperbolic", curvature=curvature))
    store.upsert("a", [Item(f"id{i}", v) for i, v in enumerate(vectors)], space=SPACE)
    hits = store.search("a", vectors[:1], SearchParams(200), space=SPACE).hits[0]
    expected = brute_force("hyperbolic", vectors, vectors[0], curvature)
    np.testing.assert_allclose(
        [hit.score for hit in hits], expected[[int(hit.id[2:]) for hit in hits]], atol=1e-6
    )
    assert hits[0].id == "id0"
    assert hits[0].score == pytest.approx(0, abs=1e-7)


def test_points_at_the_edge_of_the_ball_are_ranked_as_float64_does(store):
    # so near to the edge that scores in float32 are hundreds of thousands apart or equal
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 1e-3, 500)
    radii = 1 - 10 ** rng.uniform(-4.9, -2, 500)
    points = (radii * np.stack([np.cos(angles), np.sin(angles)])).T.astype(np.float32)
    store.create(CollectionSpec("a", SPACE, 2, metric="hyperbolic"))
    store.upsert("a", [Item(f"id{i}", v) for i, v in enumerate(points)], space=SPACE)
    for query in points[:20]:
        hits = store.search("a", query[None], SearchParams(10), space=SPACE).hits[0]
        expected = brute_force("hyperbolic", points, query)
        best = best_of("hyperbolic", expected, 10)
        assert [hit.id for hit in hits] == [f"id{i}" for i in best]


@pytest.mark.parametrize("radius", [0.999995, 1.0, 1.5])
def test_points_beyond_the_edge_are_refused(store, radius):
    store.create(CollectionSpec("a", SPACE, 2, metric="hyperbolic"))
    point = np.asarray([radius, 0.0])
    with pytest.raises(InvalidRequestError, match=r"'p' must lie within 0.99999 of"):
        store.upsert("a", [Item("p", point)], space=SPACE)
    with pytest.raises(InvalidRequestError, match=r"query 0 must lie within"):
        store.search("a", point[None], SearchParams(), space=SPACE)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2", "hyperbolic"])
def test_a_threshold_leaves_out_what_does_not_reach_it(store, metric):
    vectors = made_vectors(metric, 300, 0)
    store.create(CollectionSpec("a", SPACE, DIM, metric=metric))
    store.upsert("a", [Item(f"id{i}", v) for i, v in enumerate(vectors)], space=SPACE)
    everything = store.search("a", vectors[:1], SearchParams(300), space=SPACE).hits[0]
    threshold = everything[40].score
    params = SearchParams(300, threshold=threshold)
    hits = store.search("a", vectors[:1], params, space=SPACE).hits[0]
    assert [hit.id for hit in hits] == [hit.id for hit in everything[:41]]
    unreachable = 1e12 if metric in {"cosine", "ip"} else -1.0
    params = SearchParams(5, threshold=unreachable)
    assert store.search("a", vectors[:1], params, space=SPACE).hits == ((),)
