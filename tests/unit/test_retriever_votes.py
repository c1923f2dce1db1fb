"""Votes for labels, prototypes and Hopfield's energy, against scikit-learn and the formulas."""

from itertools import pairwise

import numpy as np
import pytest

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import Neighbours, Sample, settle
from kokeshi_plugins.retrievers import hopfield, neighbour_vote, prototypes
from kokeshi_plugins.retrievers.fitted import unit


def crowd(seed=0, count=120, classes=4, dim=6, spread=0.6):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dim))
    numbers = np.arange(count) % classes
    vectors = unit(centres[numbers] + random.normal(0, spread, (count, dim)))
    return vectors.astype(np.float32), tuple(f"class{number}" for number in numbers)


def around(vectors, labels, query, k):
    cosines = vectors @ query
    order = np.argsort(-cosines)[:k]
    return Neighbours(
        ids=tuple(map(str, order)),
        scores=cosines[order],
        metadata=tuple({"label": labels[row]} for row in order),
        vectors=vectors[order],
        query=query,
    )


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_the_vote_is_scikit_learns(weights):
    from sklearn.neighbors import KNeighborsClassifier

    vectors, labels = crowd()
    queries, _ = crowd(seed=1, count=20)
    reference = KNeighborsClassifier(7, weights=weights).fit(vectors, labels)
    settings = settle(neighbour_vote.VOTE, {"weights": weights, "voters": 7})
    for query, wanted in zip(queries, reference.predict_proba(queries), strict=True):
        shares = neighbour_vote.answer(around(vectors, labels, query, 7), settings)["shares"]
        found = [shares.get(label, 0.0) for label in reference.classes_]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_kernel_weighs_exponentially():
    two = Neighbours(
        ("a", "b"), np.array([0.9, 0.83], np.float32), ({"label": "x"}, {"label": "y"})
    )
    shares = neighbour_vote.answer(two, neighbour_vote.VOTE.defaults)["shares"]
    assert shares["x"] / shares["y"] == pytest.approx(np.e, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"least_share": 0.9}, "share"),
        ({"has_score_limit": True, "score_limit": 0.95}, "limit"),
        ({"field": "colour"}, "colour"),
    ],
)
def test_it_abstains_and_says_why(settings, reason):
    two = Neighbours(
        ("a", "b"), np.array([0.9, 0.89], np.float32), ({"label": "x"}, {"label": "y"})
    )
    answer = neighbour_vote.answer(two, settle(neighbour_vote.VOTE, settings))
    assert answer["label"] is None
    assert reason in answer["abstained"]


def test_an_exact_match_decides_a_vote_by_distance():
    three = Neighbours(
        ("a", "b", "c"),
        np.array([0.0, 0.1, 0.1], np.float32),
        ({"label": "x"}, {"label": "y"}, {"label": "y"}),
        higher_is_better=False,
    )
    answer = neighbour_vote.answer(three, settle(neighbour_vote.VOTE, {"weights": "distance"}))
    assert answer["shares"] == {"x": 1.0, "y": 0.0}


def test_euclidean_prototypes_are_scikit_learns_nearest_centroids():
    from sklearn.neighbors import NearestCentroid

    vectors, labels = crowd()
    queries, _ = crowd(seed=1, count=40)
    reference = NearestCentroid().fit(vectors, labels)
    settings = settle(prototypes.PROTOTYPES, {"rule": "euclidean", "error_rate": 0.99})
    model = prototypes.fit(Sample(vectors, labels=labels), settings)
    np.testing.assert_allclose(model.means, reference.centroids_, atol=1e-6)
    for query, wanted in zip(queries, reference.predict(queries), strict=True):
        asked = Neighbours((), np.empty(0, np.float32), (), query=query)
        assert prototypes.answer(asked, {}, model)["label"] == wanted


@pytest.mark.parametrize("rule", prototypes.RULES)
def test_prototypes_keep_the_wanted_share_of_errors(rule):
    vectors, labels = crowd(count=2000, spread=0.9)
    fitted = prototypes.fit(Sample(vectors, labels=labels), {"rule": rule, "error_rate": 0.05})
    everything = prototypes.fit(Sample(vectors, labels=labels), {"rule": rule, "error_rate": 0.99})
    assert everything.answered.value == 1
    assert everything.error_rate.value > 0.1
    assert fitted.error_rate.low <= 0.05
    assert 0 < fitted.answered.value < 1


def test_prototypes_refuse_a_query_of_another_length():
    vectors, labels = crowd()
    model = prototypes.fit(Sample(vectors, labels=labels), prototypes.PROTOTYPES.defaults)
    with pytest.raises(DimensionError, match="length 6, got 3"):
        prototypes.answer(
            Neighbours((), np.empty(0, np.float32), (), query=np.ones(3, np.float32)), {}, model
        )


def test_no_update_raises_the_energy_and_it_stays_within_its_bounds():
    random = np.random.default_rng(3)
    stored = unit(random.normal(size=(20, 8)))
    for beta in (0.5, 4.0, 64.0):
        state = unit(random.normal(size=(1, 8)))[0]
        energies = []
        for _ in range(5):
            energies.append(hopfield.energy_of(stored, state, beta))
            state = hopfield.retrieve(stored, state, beta).pattern
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(energies))
        assert all(-1e-12 <= energy <= 2 for energy in energies)


def test_the_energy_is_the_papers():
    from scipy.special import logsumexp

    stored = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    state, beta = np.array([0.8, 0.6]), 3.0
    wanted = -logsumexp(beta * stored @ state) / beta + 0.5 + np.log(3) / beta + 0.5
    assert hopfield.energy_of(stored, state, beta) == pytest.approx(wanted, abs=1e-12)


def test_a_high_temperature_averages_and_a_low_one_takes_the_nearest():
    stored = np.array([[1.0, 0.0], [0.0, 1.0]])
    near = np.array([0.9, 0.1])
    np.testing.assert_allclose(hopfield.retrieve(stored, near, 1e-6).pattern, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(hopfield.retrieve(stored, near, 1e3).pattern, [1, 0], atol=1e-9)


def test_the_missing_mass_is_a_bound():
    vectors, _ = crowd(count=400)
    query = vectors[7]
    scores = np.sort(vectors.astype(np.float64) @ query)[::-1]
    for beta in (1.0, 10.0):
        powers = np.exp(beta * scores)
        missing = powers[20:].sum() / powers.sum()
        assert missing <= hopfield.missing_mass(scores[:20], beta, 400) <= 1
    assert hopfield.missing_mass(scores, 10.0, 400) == 0


def test_the_fitted_temperature_beats_its_neighbours_and_answers_with_labels():
    vectors, labels = crowd(count=300)
    model = hopfield.fit(Sample(vectors, labels=labels), hopfield.HOPFIELD.defaults)
    assert model.beta in hopfield.BETAS[1:-1]
    answer = hopfield.answer(
        around(vectors, labels, vectors[0], 10), hopfield.HOPFIELD.defaults, model
    )
    assert answer["beta"] == model.beta
    assert sum(answer["labels"].values()) == pytest.approx(1)
    assert sum(answer["weights"]) == pytest.approx(1)


def test_hopfield_without_vectors_is_refused():
    bare = Neighbours(("a",), np.ones(1, np.float32), ({},))
    with pytest.raises(InvalidRequestError, match="with vectors"):
        hopfield.answer(bare, hopfield.HOPFIELD.defaults, None)
