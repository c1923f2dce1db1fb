"""Intervals hold the truth as often as they say."""

import numpy as np
import pytest

from kokeshi.plugin import Sample, settle
from kokeshi_plugins.diagnostics import hubness, intrinsic_dimension, spaces, uniformity
from kokeshi_plugins.diagnostics.intervals import (
    jackknife_intervals,
    share_interval,
    split_interval,
)


@pytest.mark.parametrize("trials", [1, 5, 40, 300])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.97, 1.0])
def test_the_interval_of_a_share_holds_it_whatever_the_size(trials, share):
    random = np.random.default_rng(trials)
    hits = random.binomial(trials, share, 2_000)
    ends = {count: share_interval(int(count), trials) for count in np.unique(hits)}
    held = np.mean([ends[count][0] <= share <= ends[count][1] for count in hits])
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2_000)


def test_no_hit_at_all_bounds_a_share_as_clopper_and_pearson_do():
    low, high = share_interval(0, 100)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-9)
    assert share_interval(100, 100) == (pytest.approx(1 - high, rel=1e-9), 1)


def covered(interval_of, truth, rounds=400):
    """Share of seeds whose interval holds the truth."""
    found = [interval_of(np.random.default_rng(seed)) for seed in range(rounds)]
    return np.mean([low <= truth <= high for low, high in found])


def test_a_jackknife_of_a_correlation_holds_it():
    def interval(random):
        one, noise = random.standard_normal((2, 200))
        pair = np.stack([one, one + noise])
        value = np.corrcoef(pair)[:1, 1]
        return jackknife_intervals(
            value, lambda kept: np.corrcoef(pair[:, kept])[:1, 1], np.arange(200), random
        )[0]

    assert 0.9 <= covered(interval, np.sqrt(0.5)) <= 0.99


def test_disjoint_tenths_tell_the_spread_of_a_mean():
    def interval(random):
        values = random.exponential(1, 300)
        rows = np.arange(300)
        return split_interval(values.mean(), lambda part: values[part].mean(), rows, random)

    assert 0.9 <= covered(interval, 1.0) <= 0.99


def sheet(random):
    flat = random.standard_normal((500, 3))
    bent = np.tanh(flat @ np.random.default_rng(99).standard_normal((3, 16)) / 2)
    return Sample(vectors=bent.astype(np.float32))


def decaying(random):
    vectors = random.standard_normal((300, 24)) * np.arange(1, 25) ** -0.5
    return Sample(vectors=vectors.astype(np.float32))


def two_spaces(random):
    vectors = random.standard_normal((200, 12)) * np.arange(1, 13) ** -0.5
    other = np.tanh(vectors @ np.random.default_rng(7).standard_normal((12, 8)))
    return Sample(vectors=vectors.astype(np.float32), counterpart=other.astype(np.float32))


@pytest.mark.parametrize(
    ("module", "make", "names"),
    [
        (intrinsic_dimension, sheet, ("two_nn_dimension", "mle_dimension")),
        (uniformity, decaying, ("uniformity_nats",)),
        (hubness, decaying, ("hubness_skewness", "robin_hood_share", "antihub_share")),
        (spaces, two_spaces, (*spaces._FIGURES, "neighbour_overlap_at_10")),
    ],
)
def test_the_interval_of_a_figure_holds_the_mean_of_many_samples(module, make, names):
    settings = settle(module.PLUGIN, {})
    found = [module.PLUGIN.measure(make(np.random.default_rng(n)), settings) for n in range(30)]
    for name in names:
        truth = np.mean([one.figures[name] for one in found])
        spread = np.std([one.figures[name] for one in found], ddof=1)
        ends = np.array([one.intervals[name] for one in found])
        # of 30 intervals of 95 %, fewer than 25 hold it once in two hundred times
        assert ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum() >= 25, name
        # and not because they are wide as a barn
        assert np.mean(ends[:, 1] - ends[:, 0]) < 2 * 1.96 * spread * 2, name
