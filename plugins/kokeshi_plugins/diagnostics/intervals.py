"""How far a figure may be from what all items, or endless items, would give. All are of 95 %."""

from collections.abc import Callable
from math import log
from typing import Final, TypeVar

import numpy as np

from kokeshi.plugin import go_on
from kokeshi_plugins.diagnostics.sampling import Doubles, Rows

CONFIDENCE: Final = 0.95
NORMAL_QUANTILE: Final = 1.959964  # of the standard normal distribution at .975
GROUPS: Final = 10
STUDENT_QUANTILE: Final = 2.262157  # of Student's distribution at .975, GROUPS - 1 degrees
_HALVINGS: Final = 60  # of [0, 1]: to the last bit of a double

Interval = tuple[float, float]
M = TypeVar("M")  # of a measure: a figure, or several


def normal_interval(value: float, standard_error: float) -> Interval:
    """The value give or take 1.96 standard errors."""
    return value - NORMAL_QUANTILE * standard_error, value + NORMAL_QUANTILE * standard_error


def mean_interval(values: Doubles) -> Interval:
    """Interval of the mean of independent values, (n,), by the central limit theorem."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return normal_interval(float(values.mean()), error)


def bounded_interval(values: Doubles) -> Interval:
    """Likewise of values in [0, 1]."""
    return within(mean_interval(values))


def within(interval: Interval, least: float = 0.0, most: float = 1.0) -> Interval:
    """The part of an interval where the figure can be."""
    return max(least, interval[0]), min(most, interval[1])


def share_interval(hits: int, trials: int) -> Interval:
    """Interval of a share, `hits` of `trials` seen; it holds at any size.

    The two tails are Chernoff's: P(share seen >= s) <= exp(-trials KL(s, p)), solved for p. With no
    hit the upper end is Clopper's and Pearson's own, 1 - .025^(1/trials).
    """
    limit = -log((1 - CONFIDENCE) / 2) / trials
    seen = hits / trials
    return _edge(seen, 0.0, limit), _edge(seen, 1.0, limit)


def _edge(seen: float, far: float, limit: float) -> float:
    """The point between `seen` and `far` whose divergence from `seen` is `limit`."""
    inside, outside = seen, far
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _divergence(seen, middle) <= limit:
            inside = middle
        else:
            outside = middle
    return outside


def _divergence(seen: float, share: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats."""
    total = 0.0
    for ours, theirs in ((seen, share), (1 - seen, 1 - share)):
        if ours > 0:
            total += ours * log(ours / theirs) if theirs > 0 else float("inf")
    return total


def split_interval(
    value: float, measure: Callable[[Rows], float], rows: Rows, random: np.random.Generator
) -> Interval:
    """Interval of an estimate whose terms depend on each other, from disjoint tenths of the items.

    The tenths are independent of one another, and the variance of an estimate from n items falls
    as 1 / n: that of all items is the variance between the tenths, by ten. Only the spread is
    taken from them, never the value, which may depend on how dense the items are.
    """
    parts = np.array_split(random.permutation(rows), GROUPS)
    spread = np.std([_step(measure, np.sort(part)) for part in parts], ddof=1)
    margin = STUDENT_QUANTILE * float(spread) / np.sqrt(GROUPS)
    return value - float(margin), value + float(margin)


def _step(measure: Callable[[Rows], M], rows: Rows) -> M:
    go_on()
    return measure(rows)


def jackknife_intervals(
    values: Doubles, measure: Callable[[Rows], Doubles], rows: Rows, random: np.random.Generator
) -> list[Interval]:
    """Intervals of smooth figures, each from leaving out one random tenth of the items at a time.

    Args:
        values: (figures,) of all rows.
        measure: the same figures of some rows.
        rows: of the items.
        random: what the tenths are drawn with.

    Source: B. Efron and C. Stein, The Jackknife Estimate of Variance, 1981 (delete-a-group form).
    """
    parts = np.array_split(random.permutation(rows), GROUPS)
    left = np.array([_step(measure, np.setdiff1d(rows, part)) for part in parts])
    variances = (GROUPS - 1) / GROUPS * np.square(left - left.mean(axis=0)).sum(axis=0)
    margins = STUDENT_QUANTILE * np.sqrt(variances)
    return [(float(v - m), float(v + m)) for v, m in zip(values, margins, strict=True)]
