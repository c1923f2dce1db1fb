"""What counts as a true neighbour that was found."""

from kokeshi.index import Hit
from kokeshi.index.recall.comparing import compared, compared_across_writes


def hits(**scores):
    return [Hit(name, score, {}) for name, score in scores.items()]


def test_neighbours_are_counted():
    exact = hits(a=0.9, b=0.8, c=0.7)
    assert compared(hits(a=0.9, c=0.7, z=0.1), exact, higher_is_better=True) == (2, 3)
    assert compared([], exact, higher_is_better=True) == (0, 3)
    assert compared(hits(a=0.9), [], higher_is_better=True) == (0, 0)


def test_distances_are_better_when_they_are_smaller():
    exact = hits(a=0.1, b=0.2)
    assert compared(hits(a=0.1, z=0.3), exact, higher_is_better=False) == (1, 2)


def test_what_ties_with_the_last_neighbour_is_as_good_as_it():
    exact = hits(a=0.9, b=0.5)
    assert compared(hits(a=0.9, z=0.5), exact, higher_is_better=True) == (2, 2)
    assert compared(hits(y=0.5, z=0.5), exact, higher_is_better=True) == (2, 2)


def across(found, exact, seqs):
    return compared_across_writes(
        found, exact, lambda ids: {one: seqs[one] for one in ids}, 5, higher_is_better=True
    )


def test_neighbours_that_were_written_after_the_search_are_none_that_it_missed():
    exact = hits(new=0.95, a=0.9, b=0.8)
    assert across(hits(a=0.9, b=0.8, c=0.7), exact, {"new": 6}) == (2, 2)
    assert across(hits(a=0.9, c=0.7, d=0.6), exact, {"new": 6, "b": 5}) == (1, 2)


def test_a_search_whose_hits_are_gone_cannot_be_compared():
    exact = hits(a=0.9, b=0.8)
    assert across(hits(deleted=0.95, a=0.9), exact, {"b": 1}) is None
    assert across(hits(a=0.5, b=0.8), exact, {}) is None  # a was replaced
