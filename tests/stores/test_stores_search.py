"""Searches of the service over every kind of store: by NumPy, in float64."""

import numpy as np
import pytest

from kokeshi.errors import UnimplementedError
from kokeshi.service.inputs import Tensor
from kokeshi.service.search_types import Examples, SearchMode, Stage

SPACE = "0123456789abcdef"
ROWS, DIM = 240, 128
DIMENSIONS = (16, 64, 128)
K = 10


def made_vectors(rows, seed, decay=0.0):
    """(rows, DIM) float32 of random lengths; with `decay` 0 a prefix says little of the whole."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, DIM)) * np.arange(1, DIM + 1) ** -decay
    return (vectors * rng.uniform(0.5, 2, (rows, 1))).astype(np.float32)


def scores_of(vectors, query, dimension=DIM, metric="cosine"):
    """Float64 scores, larger is nearer."""
    rows, asked = vectors[:, :dimension].astype(float), query[:dimension].astype(float)
    if metric == "l2":
        return -np.linalg.norm(rows - asked, axis=1)
    return rows @ asked / (np.linalg.norm(rows, axis=1) * np.linalg.norm(asked))


def best(scores, k=K):
    return [f"i{row}" for row in np.argsort(-scores, kind="stable")[:k]]


def ids(hits):
    return [hit.id for hit in hits]


VECTORS = made_vectors(ROWS, 1, decay=0.3)
QUERIES = made_vectors(4, 2, decay=0.3)
METADATA = [{"kind": f"k{row % 7}", "row": row} for row in range(ROWS)]


@pytest.fixture(params=["cosine", "l2"])
def metric(request):
    return request.param


def filled(kept, name, vectors, metadata=None, **spec):
    """A collection that is made once for all tests on a store."""
    if name not in kept.made:
        kept.fill(name, vectors, metadata, **spec)
        kept.made[name] = True
    return name


@pytest.fixture
def wide(kept):
    return filled(kept, "wide-cosine", VECTORS, METADATA, dimensions=DIMENSIONS)


@pytest.mark.parametrize("mode", list(SearchMode))
def test_neighbours_at_every_dimension_are_scored_as_by_numpy(kept, metric, mode):
    name = filled(kept, f"wide-{metric}", VECTORS, METADATA, dimensions=DIMENSIONS, metric=metric)
    is_ranked_again = mode is SearchMode.TWO_STAGE
    for dimension in DIMENSIONS:
        found = kept.search(name, *QUERIES, k=K, dimension=dimension, mode=mode)
        length = DIM if is_ranked_again else dimension
        assert (found.dimension, found.higher_is_better) == (length, metric == "cosine")
        assert found.exact or mode is not SearchMode.EXACT
        right = 0
        for query, hits in zip(QUERIES, found.results, strict=True):
            scores = scores_of(VECTORS, query, length, metric)
            expected = [abs(scores[int(hit.id[1:])]) for hit in hits]
            np.testing.assert_allclose([abs(hit.score) for hit in hits], expected, rtol=1e-6)
            assert ids(hits) == sorted(ids(hits), key=lambda one: -scores[int(one[1:])])
            right += len(set(ids(hits)) & set(best(scores)))
        assert right == 4 * K or not found.exact
        assert right >= 0.9 * 4 * K


def test_a_query_by_examples_is_the_one_that_numpy_makes(kept, wide):
    unit = VECTORS.astype(float) / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    query = 2 * unit[[3, 5]].mean(axis=0) - unit[8]
    wanted = Examples(positive=("i3", "i5"), negative=("i8",))
    found = kept.search(wide, examples=[wanted], k=K, mode=SearchMode.EXACT).results[0]
    expected = [one for one in best(scores_of(VECTORS, query), K + 3) if one not in {"i3", "i5"}]
    assert ids(found) == [one for one in expected if one != "i8"][:K]


def test_groups_are_those_of_the_best_items(kept, wide):
    scores = scores_of(VECTORS, QUERIES[0])
    expected = {}
    for one in best(scores, ROWS):
        expected.setdefault(METADATA[int(one[1:])]["kind"], []).append(one)
    asked = {"k": 3, "group_by": "kind", "group_size": 2, "mode": SearchMode.EXACT}
    groups = kept.search(wide, QUERIES[0], **asked).groups[0]
    assert [group.value for group in groups] == list(expected)[:3]
    assert [ids(group.hits) for group in groups] == [one[:2] for one in expected.values()][:3]


def test_near_duplicates_are_folded_into_the_best_of_them(kept):
    rng = np.random.default_rng(3)
    vectors = made_vectors(60, 4)
    vectors[40:] = vectors[:20] * 3 + 0.01 * rng.standard_normal((20, DIM))
    name = filled(kept, "twins", vectors)
    for query in made_vectors(3, 5):
        scores = scores_of(vectors, query)
        expected = list(dict.fromkeys(int(one[1:]) % 40 for one in best(scores, 60)))[:K]
        hits = kept.search(name, query, k=K, collapse=0.99, mode=SearchMode.EXACT).results[0]
        assert [int(hit.id[1:]) % 40 for hit in hits] == expected
        for hit in hits:
            twin = int(hit.id[1:]) % 40
            assert len(hit.collapsed_ids) == (twin < 20)


def test_pages_go_on_where_the_last_one_ended(kept, wide):
    seen, token = [], ""
    for _ in range(4):
        asked = {"k": 7, "mode": SearchMode.EXACT, "page_token": token}
        found = kept.search(wide, QUERIES[1], **asked)
        seen += ids(found.results[0])
        token = found.next_page_token
    assert seen == best(scores_of(VECTORS, QUERIES[1]), 28)


@pytest.mark.parametrize("mode", list(SearchMode))
def test_a_filter_is_kept_and_k_are_found_where_k_exist(kept, wide, mode):
    wanted = {"and": [{"kind": {"in": ["k1", "k4"]}}, {"row": {"gte": 180}}]}
    rows = [row for row in range(180, ROWS) if row % 7 in {1, 4}]
    found = kept.search(wide, QUERIES[2], k=K, filter=wanted, mode=mode).results[0]
    assert len(found) == K
    assert {int(hit.id[1:]) for hit in found} <= set(rows)
    scores = np.full(ROWS, -np.inf)
    scores[rows] = scores_of(VECTORS[rows], QUERIES[2])
    assert len(set(ids(found)) & set(best(scores))) >= (K if mode is SearchMode.EXACT else 9)


def test_a_threshold_gives_all_that_reach_it_and_no_more(kept, wide):
    scores = scores_of(VECTORS, QUERIES[3])
    least = float(np.sort(scores)[-20] + np.sort(scores)[-21]) / 2
    found = kept.search(wide, QUERIES[3], k=100, threshold=least, mode=SearchMode.EXACT)
    assert ids(found.results[0]) == best(scores, 20)


def test_a_tenant_finds_its_own_items_alone(kept, wide):
    kept.fill("rented", VECTORS[:20], tenant="ours")
    kept.fill("rented", VECTORS[20:50], tenant="theirs")
    hits = kept.search("rented", QUERIES[0], k=40, tenant="ours").results[0]
    assert sorted(ids(hits)) == sorted(f"i{row}" for row in range(20))
    assert not kept.search("rented", QUERIES[0], k=40).results[0]
    told = kept.service.list_tenants("rented")
    if kept.capabilities.tenants:
        assert {one.name: one.count for one in kept.run(told)} == {"ours": 20, "theirs": 30}
    else:
        with pytest.raises(UnimplementedError, match="names of their tenants"):
            kept.run(told)


def explain(kept, name, item, query, **how):
    return kept.run(kept.service.explain(name, item, [Tensor(query)], space=SPACE, **how))


def test_an_explanation_tells_rank_and_score_at_every_dimension(kept, wide):
    query = QUERIES[0]
    ranked = best(scores_of(VECTORS, query), ROWS)
    told = explain(kept, wide, ranked[4], query, k=K, mode=SearchMode.EXACT)
    assert (told.stage, told.rank) == (Stage.FOUND, 5)
    for each in told.dimensions:
        scores = scores_of(VECTORS, query, each.dimension)
        assert each.rank == best(scores, ROWS).index(ranked[4]) + 1
        assert each.score == pytest.approx(scores[int(ranked[4][1:])], rel=1e-6)
    assert [each.dimension for each in told.dimensions] == list(DIMENSIONS)
    whole = sum(each.contribution for each in told.blocks)
    assert whole == pytest.approx(told.dimensions[-1].score, rel=1e-5)


def test_an_explanation_tells_where_an_item_left_the_search(kept, wide):
    query, exact = QUERIES[0], SearchMode.EXACT
    ranked = best(scores_of(VECTORS, query), ROWS)
    first = ranked[0]

    def stage(item, **how):
        return explain(kept, wide, item, query, k=K, mode=exact, **how).stage

    assert stage("nobody") is Stage.NOT_STORED
    assert stage(ranked[K]) is Stage.BELOW_K
    assert stage(first, exclude_ids=[first]) is Stage.EXCLUDED
    assert stage(first, filter={"row": {"lt": int(first[1:])}}) is Stage.FILTER
    assert stage(ranked[3], threshold=0.999) is Stage.THRESHOLD


def test_an_item_that_a_shortlist_missed_is_told_so(kept):
    vectors, query = made_vectors(ROWS, 6), made_vectors(1, 7)[0]
    name = filled(kept, "flat-spectrum", vectors, dimensions=DIMENSIONS)
    how = {"k": K, "mode": SearchMode.TWO_STAGE, "dimension": 64, "shortlist": K}
    found = ids(kept.search(name, query, **how).results[0])
    ranked = best(scores_of(vectors, query), ROWS)
    missed = [one for one in ranked[:K] if one not in found]
    assert missed
    told = explain(kept, name, missed[0], query, **how)
    assert (told.stage, told.rank) == (Stage.SHORTLIST, None)
    assert told.dimensions[-1].rank == ranked.index(missed[0]) + 1
    assert told.route.first < DIM


@pytest.mark.parametrize(
    ("metric", "index"), [("hyperbolic", "auto"), ("cosine", "codes"), ("cosine", "panorama")]
)
def test_what_a_store_does_not_declare_it_refuses(kept, metric, index):
    name = f"refused-{metric}-{index}"
    vectors = (VECTORS[:5] / 100).astype(np.float32)
    can = metric in kept.capabilities.metrics and index in kept.capabilities.kinds
    if can:
        kept.fill(name, vectors, metric=metric, index=index)
        assert kept.search(name, vectors[2], k=1).results[0][0].id == "i2"
    else:
        with pytest.raises(UnimplementedError, match=f"no (metric|index) '({metric}|{index})'"):
            kept.fill(name, vectors, metric=metric, index=index)
        assert name not in {info.name for info in kept.run(kept.service.list_collections())}


def test_ranks_among_long_vectors_are_told_though_one_answer_does_not_hold_so_many(kept):
    long = np.random.default_rng(8).standard_normal((30, 1024)).astype(np.float32)
    name = filled(kept, "long", long, index="flat")
    ranked = best(scores_of(long, long[3], 1024), 30)
    told = explain(kept, name, ranked[20], long[3], k=5)
    assert (told.stage, told.dimensions[0].rank) == (Stage.BELOW_K, 21)


def test_a_threshold_without_k_gives_all_that_reach_it_of_long_vectors_too(kept):
    long = np.random.default_rng(8).standard_normal((30, 1024)).astype(np.float32)
    name = filled(kept, "long", long, index="flat")
    scores = scores_of(long, long[3], 1024)
    found = kept.search(name, long[3], threshold=float(np.median(scores)))
    assert ids(found.results[0]) == best(scores, 15)
