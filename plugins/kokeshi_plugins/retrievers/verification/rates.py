"""Thresholds for wanted error rates, and the error rates at thresholds, with intervals.

A false match calls two different things the same; a false non-match calls the same thing different
(ISO/IEC 19795-1). A pair is called the same where its score is at least the threshold.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import go_on
from kokeshi_plugins.retrievers.fitted import Rate, Record, clopper_pearson
from kokeshi_plugins.retrievers.verification.pairs import ScoredPairs

Weights = npt.NDArray[np.float64]


class Point(Record):
    """An operating point: a threshold and the two error rates there."""

    threshold: float
    false_match_rate: Rate
    false_non_match_rate: Rate


def threshold_for_false_matches(different: npt.NDArray[np.float64], wanted: float) -> float:
    """The lowest threshold at which at most a share `wanted` of different pairs score that high.

    Raises:
        InvalidRequestError: one pair alone is a larger share than wanted.
    """
    allowed = _allowed(len(different), wanted, "different pairs", "false matches")
    highest_refused = np.partition(different, -allowed - 1)[-allowed - 1]
    return float(np.nextafter(highest_refused, np.inf))


def threshold_for_false_non_matches(same: npt.NDArray[np.float64], wanted: float) -> float:
    """The highest threshold at which at most a share `wanted` of same pairs score below it.

    Raises:
        InvalidRequestError: one pair alone is a larger share than wanted.
    """
    allowed = _allowed(len(same), wanted, "pairs of the same", "false non-matches")
    return float(np.partition(same, allowed)[allowed])


@dataclass(frozen=True)
class Draws:
    """Bootstrap weights, the same each time that they are gone through.

    They are not kept: that would take `count` times the memory of the pairs.
    """

    pairs: ScoredPairs
    count: int
    seed: int

    def __iter__(self) -> Iterator[Weights]:
        random = np.random.default_rng(self.seed)
        for _ in range(self.count):
            go_on()
            yield self.pairs.resampled(random)


def point_at(pairs: ScoredPairs, threshold: float, draws: Iterable[Weights] | None = None) -> Point:
    """Both error rates at a threshold.

    Args:
        pairs: measured on.
        threshold: of the scores.
        draws: bootstrap weights; None where the pairs are independent, for exact intervals.
    """
    wrong = np.where(pairs.same, pairs.scores < threshold, pairs.scores >= threshold)
    rates = _rates(wrong, (~pairs.same, pairs.same), draws)
    return Point(threshold=threshold, false_match_rate=rates[0], false_non_match_rate=rates[1])


def intervals(pairs: ScoredPairs, draws: int, seed: int) -> Draws | None:
    """Bootstrap weights for `point_at`; None where binomial intervals hold."""
    return None if pairs.are_independent else Draws(pairs, draws, seed)


def quantiles(
    values: list[npt.NDArray[np.float64]], confidence: float = 0.95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The interval, per column, of bootstrap values (draws, n)."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.stack(values), [tail, 1 - tail], axis=0)
    return low, high


def _allowed(count: int, wanted: float, kind: str, errors: str) -> int:
    """How many of `count` pairs may be wrong; at least one, or the rate could not be measured."""
    allowed = int(np.floor(count * wanted + 1e-9))
    if not 0 < wanted < 1 or not 1 <= allowed < count:
        raise InvalidRequestError(
            f"a share of {wanted!r} {errors} cannot be measured on {count} {kind}; expected a "
            f"share below 1 and at least one pair in that share"
        )
    return allowed


def _rates(
    wrong: npt.NDArray[np.bool_],
    kinds: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    draws: Iterable[Weights] | None,
) -> list[Rate]:
    """A share of each kind; the interval of a bootstrap is never narrower than the binomial one.

    Where nothing is wrong, no draw has anything wrong either, and that says nothing.
    """
    exact = [clopper_pearson(int(wrong[kind].sum()), int(kind.sum())) for kind in kinds]
    if draws is None:
        return exact
    shares: list[list[npt.NDArray[np.float64]]] = [[] for _ in kinds]
    for weights in draws:
        for kind, found in zip(kinds, shares, strict=True):
            chosen = weights[kind]
            if chosen.any():
                found.append(np.array(chosen @ wrong[kind] / chosen.sum()))
    return [_widened(rate, found) for rate, found in zip(exact, shares, strict=True)]


def _widened(exact: Rate, shares: list[npt.NDArray[np.float64]]) -> Rate:
    if not shares:
        return exact
    low, high = quantiles(shares)
    return exact.model_copy(
        update={"low": min(exact.low, float(low)), "high": max(exact.high, float(high))}
    )
