"""Intervals of a measured recall hold the truth as often as they say."""

import numpy as np
import pytest

from kokeshi.index.recall.interval import Tally

K = 10


def neighbours_found(recall, scatter, runs, queries, seed):
    """Of K neighbours of each query; a query has a recall of its own, drawn around the mean."""
    rng = np.random.default_rng(seed)
    own = rng.beta(recall * scatter, (1 - recall) * scatter, (runs, queries))
    return rng.binomial(K, own)


def coverage(found, truth, fade=1.0):
    held = 0
    for run in found:
        tally = Tally()
        for one in run:
            tally.fade(fade)
            tally.add(int(one), K)
        estimate = tally.estimate()
        held += estimate.low <= truth <= estimate.high
    return held / len(found)


# scatter 8 makes the variance of a mean twice that of independent neighbours
@pytest.mark.parametrize("scatter", [3, 8, 40])
@pytest.mark.parametrize("recall", [0.5, 0.8, 0.95])
def test_95_of_100_intervals_hold_the_true_recall(recall, scatter):
    found = neighbours_found(recall, scatter, 1000, 150, seed=int(100 * recall) + scatter)
    assert 0.93 <= coverage(found, recall) <= 0.97


def test_intervals_of_fading_samples_hold_the_true_recall():
    found = neighbours_found(0.9, 8, 1000, 400, seed=5)
    assert 0.93 <= coverage(found, 0.9, fade=0.5 ** (1 / 60)) <= 0.97


def test_a_recall_near_one_is_never_said_to_be_surer_than_it_is():
    found = neighbours_found(0.995, 20, 1000, 200, seed=6)
    assert coverage(found, 0.995) >= 0.93


def test_neighbours_of_a_query_count_less_than_independent_ones_where_they_go_together():
    together, apart = Tally(), Tally()
    for place in range(100):
        together.add(K if place % 10 else 0, K)
        apart.add(K - 1, K)
    one, other = together.estimate(), apart.estimate()
    assert one.value == other.value == pytest.approx(0.9)
    assert one.high - one.low > 2 * (other.high - other.low)


def test_what_was_never_missed_may_still_be_missed():
    tally = Tally()
    for _ in range(200):
        tally.add(K, K)
    estimate = tally.estimate()
    assert (estimate.value, estimate.high, estimate.samples) == (1.0, 1.0, 200)
    assert 0.985 < estimate.low < 0.999


def test_one_query_says_nothing():
    tally = Tally()
    assert tally.estimate() is None
    tally.add(9, K)
    assert tally.estimate() is None


def test_old_samples_fade():
    tally = Tally()
    for found in [2] * 300 + [10] * 300:
        tally.fade(0.5 ** (1 / 50))
        tally.add(found, K)
    assert tally.estimate().value > 0.98
    assert tally.queries < 150
