"""Verification: curves against scikit-learn, thresholds and rates against counting."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import Neighbours, Pairs, Sample, settle
from kokeshi_plugins.retrievers import verification
from kokeshi_plugins.retrievers.fitted import clopper_pearson, unit
from kokeshi_plugins.retrievers.verification import calibration, opis, rates
from kokeshi_plugins.retrievers.verification.pairs import judged, of_items
from kokeshi_plugins.retrievers.verification.subjects import RULES, set_scores


def drawn_pairs(count=4000, seed=0):
    random = np.random.default_rng(seed)
    same = random.random(count) < 0.4
    return random.normal(np.where(same, 0.7, 0.2), 0.15).astype(np.float32), same


def people(count=400, classes=20, seed=0, spread=0.35):
    random = np.random.default_rng(seed)
    numbers = np.arange(count) % classes
    vectors = unit(random.normal(size=(classes, 16)))[numbers]
    vectors = unit(vectors + random.normal(0, spread / 2, vectors.shape))
    return vectors, numbers


def test_the_isotonic_curve_is_scikit_learns():
    from sklearn.isotonic import IsotonicRegression

    scores, same = drawn_pairs()
    scores = np.round(scores, 2)  # with ties
    pairs = judged(scores, same)
    weights = calibration.balanced(same, 0.25)
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    reference.fit(pairs.scores, same.astype(float), weights)
    found = calibration.calibrate(pairs, "isotonic", 0.25, 2, 0)
    grid = np.linspace(-0.5, 1.5, 777)
    np.testing.assert_allclose(found.probability(grid), reference.predict(grid), atol=1e-12)


def test_platts_curve_is_scikit_learns():
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Scores(ClassifierMixin, BaseEstimator):
        classes_ = np.array([False, True])

        def fit(self, inputs, targets):
            return self

        def predict(self, inputs):
            return inputs[:, 0] > 0

        def decision_function(self, inputs):
            return inputs[:, 0]

        def __sklearn_is_fitted__(self):
            return True

    scores, same = drawn_pairs()
    wide = scores.astype(np.float64)[:, None]
    reference = CalibratedClassifierCV(FrozenEstimator(Scores()), method="sigmoid")
    reference.fit(wide, same)
    prior = float(same.mean())  # the weights of this prior are all 1
    found = calibration.calibrate(judged(scores, same), "platt", prior, 2, 0)
    np.testing.assert_allclose(
        found.probability(wide[:50, 0]), reference.predict_proba(wide[:50])[:, 1], atol=2e-5
    )


def test_platts_curve_stays_finite_where_scores_split_the_pairs():
    scores = np.concatenate([np.linspace(0, 0.4, 50), np.linspace(0.6, 1, 50)]).astype(np.float32)
    found = calibration.calibrate(judged(scores, np.arange(100) >= 50), "platt", 0.5, 2, 0)
    assert np.isfinite(found.slope)
    assert 0 < found.probability(0.0) < 0.05
    assert 0.95 < found.probability(1.0) < 1


def test_the_prior_moves_the_probability_by_its_odds():
    scores, same = drawn_pairs()
    even, rare = (
        calibration.calibrate(judged(scores, same), "platt", prior, 2, 0) for prior in (0.5, 0.2)
    )
    odds = [p / (1 - p) for p in (even.probability(0.5), rare.probability(0.5))]
    assert odds[0] / odds[1] == pytest.approx(4, rel=0.08)


def test_the_interval_holds_the_curve_and_shrinks_with_more_pairs():
    widths = []
    for count in (200, 5000):
        scores, same = drawn_pairs(count)
        found = calibration.calibrate(judged(scores, same), "platt", 0.5, 60, 0)
        low, high = found.interval(0.45)
        assert low <= found.probability(0.45) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("wanted", [0.001, 0.01, 0.2])
def test_thresholds_are_the_loosest_that_keep_the_rate(wanted):
    values = np.random.default_rng(1).normal(size=5000)
    upper = rates.threshold_for_false_matches(values, wanted)
    assert (values >= upper).mean() <= wanted < (values >= np.nextafter(upper, -9)).mean()
    lower = rates.threshold_for_false_non_matches(values, wanted)
    assert (values < lower).mean() <= wanted < (values < np.nextafter(lower, 9)).mean()


def test_a_rate_finer_than_one_pair_is_refused():
    with pytest.raises(InvalidRequestError, match="cannot be measured on 500 different pairs"):
        rates.threshold_for_false_matches(np.arange(500.0), 0.001)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # scipy.stats.binomtest(...).proportion_ci(method="exact")
    [
        (0, 50, 0.0, 0.07112173646419764),
        (3, 1000, 0.0006190999316495711, 0.008742023238657651),
        (50, 50, 0.9288782635358024, 1.0),
    ],
)
def test_exact_intervals_are_scipys(hits, trials, low, high):
    rate = clopper_pearson(hits, trials)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-9)


def test_intervals_of_shared_items_are_wider_than_of_independent_pairs():
    vectors, numbers = people()
    pairs = of_items(vectors, numbers, 16, 50_000, 0)
    threshold = float(np.quantile(pairs.scores[~pairs.same], 0.99))
    exact = rates.point_at(pairs, threshold).false_match_rate
    honest = rates.point_at(pairs, threshold, rates.intervals(pairs, 100, 0)).false_match_rate
    assert honest.value == exact.value
    assert honest.high - honest.low > exact.high - exact.low


def test_pairs_are_drawn_where_there_are_too_many():
    vectors, numbers = people()
    pairs = of_items(vectors, numbers, 16, 500, 0)
    assert 450 <= pairs.same.sum() <= 500
    assert 400 <= (~pairs.same).sum() <= 500
    assert ((numbers[pairs.first] == numbers[pairs.second]) == pairs.same).all()
    assert (pairs.first != pairs.second).all()


def by_definition(vectors, numbers, low, high):
    """OPIS over all pairs, one threshold and one class at a time."""
    similarities = vectors @ vectors.T
    upper = np.triu(np.ones_like(similarities, bool), 1)
    same = numbers[:, None] == numbers
    utility = []
    for number in np.unique(numbers):
        touches = (numbers[:, None] == number) | (numbers == number)
        alike = similarities[upper & same & touches]
        others = similarities[upper & ~same & touches]
        row = []
        for threshold in np.linspace(low, high, opis.THRESHOLDS):
            sensitivity, specificity = (alike >= threshold).mean(), (others < threshold).mean()
            total = sensitivity + specificity
            row.append(2 * sensitivity * specificity / total if total else 0.0)
        utility.append(row)
    utility = np.array(utility)
    order = np.argsort(utility.mean(axis=1))
    gap = utility[order[-2:]].mean(axis=0) - utility[order[:2]].mean(axis=0)
    return ((utility - utility.mean(axis=0)) ** 2).mean(), (gap**2).mean()


def test_opis_is_its_definition():
    vectors, numbers = people(classes=8, count=80, spread=0.8)
    names = tuple(map(str, range(8)))
    found = opis.consistency(vectors, numbers, names, epsilon=0.25)
    wanted = by_definition(vectors, numbers, found.lowest, found.highest)
    assert (found.opis, found.epsilon_opis) == pytest.approx(wanted, abs=1e-12)
    assert found.classes == 8
    assert len(found.worst) == 2


def test_opis_grows_when_one_class_is_looser_and_names_it():
    vectors, numbers = people()
    names = tuple(f"class{number:02}" for number in range(20))
    even = opis.consistency(vectors, numbers, names)
    loose = vectors.copy()
    random = np.random.default_rng(5)
    rows = numbers == 7
    loose[rows] = unit(loose[rows] + random.normal(0, 0.4, loose[rows].shape))
    uneven = opis.consistency(loose, numbers, names)
    assert uneven.opis > 2 * even.opis
    assert "class07" in uneven.worst


def test_a_set_beats_a_pair_and_no_probe_is_in_its_own_set():
    vectors, numbers = people(spread=0.8)
    by_rule = set_scores(vectors, numbers, 16, 5, 0)
    assert set(by_rule) == set(RULES)
    for pairs in by_rule.values():
        assert pairs.same.sum() == 20 * 15
        assert pairs.scores.max() < 1 - 1e-6
    pair = of_items(vectors, numbers, 16, 50_000, 0)

    def misses(pairs):
        upper = rates.threshold_for_false_matches(pairs.scores[~pairs.same], 0.01)
        return (pairs.scores[pairs.same] < upper).mean()

    assert misses(by_rule["mean"]) < misses(pair)


def settings(**given):
    return settle(verification.VERIFICATION, {"draws": 10, **given})


def reference(*scores, dimension=None):
    return Neighbours(
        tuple(map(str, range(len(scores)))),
        np.array(scores, np.float32),
        ({},) * len(scores),
        dimension=dimension,
    )


def test_judged_pairs_give_verdicts_with_rates():
    scores, same = drawn_pairs(20_000)
    sample = Sample(np.empty((0, 8), np.float32), pairs=Pairs(scores, same))
    model = verification.fit(sample, settings(false_match_rate=0.01, false_non_match_rate=0.01))
    operation = model.pairs[0]
    assert operation.upper.false_match_rate.low <= 0.01 <= operation.upper.false_match_rate.high
    assert operation.lower.threshold < operation.upper.threshold
    assert operation.brier < 0.1
    verdicts = [
        verification.answer(reference(score), {}, model)["verdict"] for score in (0.0, 0.45, 0.9)
    ]
    assert verdicts == ["different", "uncertain", "same"]
    with pytest.raises(InvalidRequestError, match="say nothing of sets"):
        verification.answer(reference(0.9, 0.8), {}, model)


def test_nothing_is_uncertain_where_one_threshold_keeps_both_rates():
    vectors, numbers = people(spread=0.1)
    sample = Sample(vectors.astype(np.float32), labels=tuple(f"p{n}" for n in numbers))
    operation = verification.fit(sample, settings()).pairs[0]
    assert operation.lower.threshold == operation.upper.threshold


def test_labelled_items_are_fitted_at_every_length_and_for_sets():
    vectors, numbers = people()
    sample = Sample(
        vectors.astype(np.float32),
        labels=tuple(f"person{number}" for number in numbers),
        dimensions=(4, 16),
        space="0123456789abcdef",
    )
    model = verification.fit(sample, settings(false_match_rate=0.01))
    assert [operation.dimension for operation in model.pairs] == [4, 16]
    assert [operation.dimension for operation in model.sets] == [4, 16]
    assert set(model.consistency) == {4, 16}
    assert model.space == sample.space
    short = verification.answer(reference(0.8, dimension=4), {}, model)
    full = verification.answer(reference(0.8), {}, model)
    assert (short["dimension"], full["dimension"]) == (4, 16)
    assert short["probability"] < full["probability"]  # 4 numbers are alike by chance
    of_set = verification.answer(reference(0.8, 0.7, 0.2), {}, model)
    assert of_set["rule"] in RULES
    assert of_set["references"] == 3
    with pytest.raises(DimensionError, match="lengths 4, 16, not at 8"):
        verification.answer(reference(0.8, dimension=8), {}, model)


def test_more_references_than_were_fitted_are_refused_however_few_came_of_them():
    vectors, numbers = people()
    sample = Sample(vectors.astype(np.float32), labels=tuple(f"p{n}" for n in numbers))
    model = verification.fit(sample, settings())
    assert verification.answer(reference(0.8, 0.7, 0.2), {}, model)["references"] == 3
    many, best = reference(*[0.8] * 4), replace(reference(0.8, 0.7, 0.2), count=100)
    for given in (many, best, replace(reference(0.8), count=2)):
        with pytest.raises(InvalidRequestError, match=r"error rates are those of [13] references"):
            verification.answer(given, {}, model)


def test_a_fit_tells_its_error_rates_and_how_far_the_classes_disagree():
    vectors, numbers = people()
    sample = Sample(
        vectors.astype(np.float32),
        labels=tuple(f"p{n}" for n in numbers),
        dimensions=(4, 16),
    )
    model = verification.fit(sample, settings())
    told = verification.figures(model)
    assert [each["dimension"] for each in told["pairs"]] == [4, 16]
    assert {each["references"] for each in told["sets"]} == {3}
    rate = told["pairs"][1]["upper"]["false_match_rate"]
    assert rate == model.pairs[1].upper.false_match_rate.model_dump()
    assert [each["opis"] for each in told["consistency"]] == [
        model.consistency[length].opis for length in (4, 16)
    ]
    assert told["consistency"][0]["worst"]
    json.dumps(told, allow_nan=False)


def test_a_sample_too_small_for_sets_still_gives_pairs_and_says_why():
    vectors, numbers = people(count=400)
    sample = Sample(vectors.astype(np.float32), labels=tuple(f"p{n}" for n in numbers))
    model = verification.fit(sample, settings(references=10))
    assert model.pairs
    assert not model.sets
    assert "expected" in model.sets_missing


@pytest.mark.parametrize(
    "given", [{"kind": "splines"}, {"prior": 0.0}, {"references": 0}, {"draws": 1}]
)
def test_settings_out_of_range_are_refused(given):
    vectors, numbers = people()
    sample = Sample(vectors.astype(np.float32), labels=tuple(f"p{n}" for n in numbers))
    with pytest.raises(InvalidRequestError):
        verification.fit(sample, settings(**given))


def test_distances_are_refused():
    with pytest.raises(InvalidRequestError, match="similarities"):
        verification.answer(
            Neighbours(("a",), np.ones(1, np.float32), ({},), higher_is_better=False), {}, None
        )
