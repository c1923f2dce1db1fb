"""Maps between spaces, rotations, funnels and depths."""

import numpy as np
import pytest

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import Sample, settle
from kokeshi_plugins.retrievers import depth, funnel, maps, pca
from kokeshi_plugins.retrievers.fitted import unit


def drawn(count=400, dim=16, seed=0, fall=0.8):
    random = np.random.default_rng(seed)
    return unit(random.normal(size=(count, dim)) * fall ** np.arange(dim))


def turn(rows, columns, seed=9):
    square = np.linalg.qr(np.random.default_rng(seed).normal(size=(max(rows, columns),) * 2))[0]
    return square[:rows, :columns]


def pairs(old, new, **facts):
    return Sample(
        old.astype(np.float32),
        counterpart=new.astype(np.float32),
        space="old",
        counterpart_space="new",
        **facts,
    )


@pytest.mark.parametrize("kind", ["orthogonal", "affine", "auto"])
def test_a_rotated_space_is_mapped_back(kind):
    old = drawn()
    new = old @ turn(16, 16)
    model = maps.fit(pairs(old, new), settle(maps.MAPS, {"kind": kind, "least_recall": 0.95}))
    mapped = maps.apply(new.astype(np.float32), model)
    assert mapped.dtype == np.float32
    assert np.einsum("nd,nd->n", mapped, old).min() > 0.999
    assert (model.space, model.source_space) == ("old", "new")
    assert model.recall[16].low > 0.9


def test_the_orthogonal_map_is_scipys():
    from scipy.linalg import orthogonal_procrustes

    new, old = drawn(seed=1), drawn(seed=2)
    np.testing.assert_allclose(
        maps.orthogonal(new, old), orthogonal_procrustes(new, old)[0], atol=1e-9
    )


def test_the_affine_map_is_scikit_learns_ridge():
    from sklearn.linear_model import Ridge

    new, old = drawn(dim=12), drawn(dim=16, seed=2)
    weights, offset = maps.affine(new, old, 0.01)
    centred = new - new.mean(axis=0)
    reference = Ridge(alpha=0.01 * (centred**2).sum() / 12).fit(new, old)
    np.testing.assert_allclose(weights, reference.coef_.T, atol=1e-9)
    np.testing.assert_allclose(offset, reference.intercept_, atol=1e-9)


@pytest.mark.parametrize(("new_dim", "old_dim"), [(24, 16), (16, 24)])
def test_spaces_of_different_lengths_are_mapped(new_dim, old_dim):
    small = drawn(dim=min(new_dim, old_dim))
    old = small if old_dim == 16 else small @ turn(16, 24)
    new = small @ turn(16, 24, seed=3) if new_dim == 24 else small
    model = maps.fit(pairs(old, new), settle(maps.MAPS, {"kind": "orthogonal"}))
    mapped = maps.apply(new.astype(np.float32), model)
    assert mapped.shape == old.shape
    np.testing.assert_allclose(mapped, old, atol=1e-3)
    with pytest.raises(DimensionError, match=f"length {new_dim}, got 3"):
        maps.apply(np.ones((2, 3), np.float32), model)


def test_unrelated_spaces_are_refused_with_the_recall_that_was_measured():
    with pytest.raises(InvalidRequestError, match=r"finds 0\.\d+ \[0\.\d+, 0\.\d+\] of the 10"):
        maps.fit(pairs(drawn(), drawn(seed=5)), maps.MAPS.defaults)


def test_a_measured_recall_is_of_items_that_took_no_part():
    old = drawn(count=400)
    noisy = unit(old @ turn(16, 16) + np.random.default_rng(1).normal(0, 0.05, old.shape))
    model = maps.fit(pairs(old, noisy), settle(maps.MAPS, {"least_recall": 0.0, "k": 5}))
    fresh = drawn(count=600, seed=77)
    fresh_new = unit(fresh @ turn(16, 16) + np.random.default_rng(2).normal(0, 0.05, fresh.shape))
    mapped = maps.apply(fresh_new.astype(np.float32), model).astype(np.float64)
    found = maps.recall_of(mapped[:100], fresh[:100], 5, 16).mean()  # as many as were held out
    assert model.recall[16].count == 100
    assert abs(found - model.recall[16].value) < 0.08


@pytest.mark.parametrize("wrong", [{"counterpart": None}, {"kind": "cubic"}, {"k": 100}])
def test_a_sample_that_carries_no_map_is_refused(wrong):
    sample = pairs(drawn(count=50), drawn(count=50))
    if "counterpart" in wrong:
        sample, wrong = Sample(sample.vectors), {}
    with pytest.raises(InvalidRequestError, match="expected"):
        maps.fit(sample, settle(maps.MAPS, wrong))


def test_the_rotation_is_orthogonal_and_keeps_cosines():
    vectors = (drawn(dim=32, fall=0.9) @ turn(32, 32)).astype(np.float32)
    model = pca.fit(Sample(vectors), pca.PCA.defaults)
    np.testing.assert_allclose(model.axes.T @ model.axes, np.eye(32), atol=1e-13)
    turned = pca.apply(vectors, model)
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(turned @ model.axes.T, vectors, atol=1e-6)


def test_the_rotation_is_scikit_learns_uncentred_decomposition():
    from sklearn.decomposition import TruncatedSVD

    vectors = (drawn(dim=12, fall=0.7) + 0.3).astype(np.float32)
    model = pca.fit(Sample(vectors), pca.PCA.defaults)
    reference = TruncatedSVD(6, algorithm="arpack", random_state=0).fit(vectors.astype(np.float64))
    cosines = np.abs(np.einsum("ij,ji->i", reference.components_, model.axes[:, :6]))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    energy = reference.singular_values_**2 / len(vectors)
    np.testing.assert_allclose(model.energy[:6], energy, rtol=1e-6)


def test_a_rotated_prefix_keeps_more_energy_and_more_neighbours():
    vectors = (drawn(dim=32, fall=0.8) @ turn(32, 32)).astype(np.float32)
    model = pca.fit(Sample(vectors), pca.PCA.defaults)
    turned = pca.apply(vectors, model)
    plain = (vectors[:, :8] ** 2).sum() / (vectors**2).sum()
    kept = model.energy[:8].sum() / model.energy.sum()
    assert kept > plain + 0.2
    np.testing.assert_allclose((turned[:, :8] ** 2).sum() / len(turned), kept, rtol=1e-5)

    def agreement(some):  # of the prefix's neighbours with those of the full length
        short = unit(some[:, :8]) @ unit(some[:, :8]).T
        full = unit(some) @ unit(some).T
        tops = [np.argsort(-product, axis=1)[:, :10] for product in (short, full)]
        return (tops[0][:, :, None] == tops[1][:, None]).any(axis=2).mean()

    assert agreement(turned) > agreement(vectors) + 0.1


def test_too_few_items_to_rotate_are_refused():
    with pytest.raises(InvalidRequestError, match="at least 64 items to rotate 32 dimensions"):
        pca.fit(Sample(drawn(count=40, dim=32).astype(np.float32)), pca.PCA.defaults)


def test_the_published_plans_are_the_authors():
    adaptive = funnel.plan(
        settle(funnel.FUNNEL, {"kind": "adaptive", "start": 16, "trained": [16, 2048]}), None
    )
    assert adaptive["stages"] == [
        {"dimension": 16, "keep": 200},
        {"dimension": 2048, "keep": 10},
    ]
    cascade = funnel.plan(funnel.FUNNEL.defaults, None)
    assert [stage["dimension"] for stage in cascade["stages"]] == [8, 16, 32, 64, 128, 2048]
    assert [stage["keep"] for stage in cascade["stages"]] == [200, 100, 50, 25, 12, 10]
    assert cascade["multiplications"] == (
        8 * 1_000_000 + 16 * 200 + 32 * 100 + 64 * 50 + 128 * 25 + 2048 * 12
    )
    assert cascade["recall"] is None


def test_the_cheapest_measured_plan_that_reaches_the_recall_is_taken():
    vectors = drawn(count=1000, dim=32, fall=0.9).astype(np.float32)
    sample = Sample(vectors, dimensions=(4, 8, 16, 32))
    settings = settle(funnel.FUNNEL, {"shortlist": 20, "k": 5, "recall": 0.9, "count": 800})
    model = funnel.fit(sample, settings)
    assert model.count == 800
    chosen = funnel.plan(settings, model)
    assert chosen["recall"]["low"] >= 0.9
    assert chosen["multiplications"] < chosen["scan"]
    cheaper = [
        plan for plan in model.plans if funnel.cost(plan.stages, 800) < chosen["multiplications"]
    ]
    assert cheaper
    assert all(plan.recall.low < 0.9 for plan in cheaper)
    exact = funnel.plan({**settings, "recall": 1.0}, model)
    assert exact["recall"]["value"] == 1
    with pytest.raises(InvalidRequestError, match="k of at most 5"):
        funnel.plan({**settings, "k": 6}, model)


def test_a_plan_keeps_its_recall_among_more_items_because_its_shortlists_grow():
    vectors = drawn(count=20_000, dim=32, fall=0.9).astype(np.float32)
    queries = drawn(count=100, dim=32, fall=0.9, seed=5).astype(np.float64)
    settings = settle(funnel.FUNNEL, {"shortlist": 20, "recall": 0.95, "most_stages": 2})
    model = funnel.fit(Sample(vectors[:1000], dimensions=(4, 8, 16, 32)), settings)
    small, large = (
        [
            funnel.Stage(**stage)
            for stage in funnel.plan({**settings, "count": count}, model)["stages"]
        ]
        for count in (model.count, len(vectors))
    )
    assert len(small) == len(large) == 2
    wanted = funnel.walk([funnel.Stage(dimension=32, keep=10)], vectors, queries)

    def recall(stages):
        found = funnel.walk(stages, vectors, queries)
        return (found[:, :, None] == wanted[:, None, :]).any(axis=2).mean()

    assert recall(large) >= 0.95
    assert recall(small) < 0.9


def test_a_plan_has_no_more_stages_than_are_asked_for_and_every_plan_is_told():
    vectors = drawn(count=1000, dim=32, fall=0.9).astype(np.float32)
    settings = settle(funnel.FUNNEL, {"shortlist": 20, "recall": 0.8, "count": 800})
    model = funnel.fit(Sample(vectors, dimensions=(4, 8, 16, 32)), settings)
    lengths = {
        most: len(funnel.plan({**settings, "most_stages": most}, model)["stages"])
        for most in (1, 2)
    }
    assert lengths == {1: 1, 2: 2}
    told = funnel.figures(model)
    assert (told["items"], told["queries"], told["k"]) == (800, 200, 10)
    assert len(told["plans"]) == len(model.plans)
    costs = [plan["multiplications"] for plan in told["plans"]]
    assert costs == sorted(costs)
    assert all(0 <= plan["recall"]["low"] <= plan["recall"]["value"] for plan in told["plans"])


def test_an_embedding_of_one_length_has_no_funnel():
    with pytest.raises(InvalidRequestError, match="two trained lengths"):
        funnel.fit(Sample(drawn().astype(np.float32)), funnel.FUNNEL.defaults)


def grid_of(old, new, query_depth, item_depth, **given):
    settings = settle(depth.DEPTH, {"query_depth": query_depth, "item_depth": item_depth, **given})
    return depth.fit(pairs(old, new, dimensions=(8, 16)), settings)


def test_depths_search_each_other_only_where_that_was_measured():
    items = drawn()
    noise = np.random.default_rng(4).normal(size=items.shape)
    grids = [
        grid_of(items, unit(items + 0.001 * noise), 20, 24),
        grid_of(items, unit(items + 0.2 * noise), 6, 24),
        grid_of(items, items, 24, 24),
    ]
    grid = depth.merged(grids)
    chosen = depth.plan(settle(depth.DEPTH, {"item_depth": 24}), grid)
    assert (chosen["query_depth"], chosen["dimension"]) == (20, 8)
    with pytest.raises(InvalidRequestError, match="6 at 16: 0"):
        depth.plan(settle(depth.DEPTH, {"item_depth": 24, "query_depth": 6}), grid)
    with pytest.raises(InvalidRequestError, match="measured: nothing"):
        depth.plan(settle(depth.DEPTH, {"item_depth": 12}), grid)


def test_grids_of_several_spaces_or_neighbours_are_not_merged():
    items = drawn()
    with pytest.raises(InvalidRequestError, match="one space and one k"):
        depth.merged([grid_of(items, items, 1, 1), grid_of(items, items, 2, 1, k=3)])
    with pytest.raises(InvalidRequestError, match="depths of at least 1"):
        grid_of(items, items, 0, 1)
