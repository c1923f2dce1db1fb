"""Pairs of labelled items, with the weights that a resampling of the items gives them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi_plugins.retrievers.fitted import unit


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Similarities of pairs, each with the clusters that its two halves came from.

    Attributes:
        scores: (pairs,) float64.
        same: (pairs,) bool.
        first: (pairs,) int64, cluster of one half: an item, a probe, or the pair itself.
        second: (pairs,) int64, cluster of the other half.
        clusters: how many there are.
    """

    scores: npt.NDArray[np.float64]
    same: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    clusters: int

    @property
    def are_independent(self) -> bool:
        """No item is in two pairs, so that binomial intervals hold."""
        return self.clusters == len(self.scores)

    def resampled(self, random: np.random.Generator) -> npt.NDArray[np.float64]:
        """Weights (pairs,) of one bootstrap draw.

        Pairs that share an item are not independent; clusters are drawn, and a pair weighs the
        product of its halves' draws (the subsets bootstrap of Bolle, Ratha, Pankanti; 2004, with
        both halves drawn).
        """
        draws = random.multinomial(self.clusters, np.full(self.clusters, 1 / self.clusters))
        weights = draws[self.first].astype(np.float64)
        is_own = self.first == self.second
        return np.where(is_own, weights, weights * draws[self.second])


def judged(scores: npt.NDArray[np.float32], same: npt.NDArray[np.bool_]) -> ScoredPairs:
    """Pairs that a user judged, taken as independent of each other.

    Raises:
        InvalidRequestError: lengths differ, a score is not finite, or one of the kinds is missing.
    """
    if scores.shape != same.shape or scores.ndim != 1:
        raise InvalidRequestError(
            f"expected as many scores as judgements, got {scores.shape} and {same.shape}"
        )
    if not np.isfinite(scores).all():
        raise InvalidRequestError("expected finite scores")
    numbers = np.arange(len(scores))
    pairs = ScoredPairs(scores.astype(np.float64), same, numbers, numbers, len(scores))
    return checked(pairs)


def of_items(
    vectors: npt.NDArray[np.float64],
    classes: npt.NDArray[np.int64],
    dimension: int,
    most: int,
    seed: int,
) -> ScoredPairs:
    """Pairs of labelled items at a prefix length.

    Args:
        vectors: (n, dim).
        classes: (n,).
        dimension: prefix length; the prefix is normalised again.
        most: pairs of a kind ("same" and "different") to keep, drawn evenly where there are more.
        seed: of the draw.

    Raises:
        InvalidRequestError: no label is shared, or all are.
    """
    cut = unit(vectors[:, :dimension])
    random = np.random.default_rng(seed)
    first, second = _drawn_rows(classes, most, random)
    scores = np.einsum("pd,pd->p", cut[first], cut[second])
    return checked(ScoredPairs(scores, classes[first] == classes[second], first, second, len(cut)))


def checked(pairs: ScoredPairs) -> ScoredPairs:
    """The pairs, of which some are the same and some are not.

    Raises:
        InvalidRequestError: they are not.
    """
    kinds = int(pairs.same.sum()), int((~pairs.same).sum())
    if not all(kinds):
        raise InvalidRequestError(
            f"expected pairs of the same and of different, got {kinds[0]} and {kinds[1]}"
        )
    return pairs


def _drawn_rows(
    classes: npt.NDArray[np.int64], most: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of both halves of the pairs; all of them where they are few."""
    count = len(classes)
    if count * (count - 1) // 2 <= 2 * most:
        first, second = np.triu_indices(count, 1)
        return first.astype(np.int64), second.astype(np.int64)
    members = [np.flatnonzero(classes == number) for number in np.unique(classes)]
    alike = [_combinations(rows, random, most) for rows in members if len(rows) > 1]
    same = np.concatenate(alike) if alike else np.empty((0, 2), np.int64)
    if len(same) > most:
        same = random.choice(same, most, replace=False)
    drawn = random.integers(0, count, (2 * most, 2))
    different = np.unique(np.sort(drawn[classes[drawn[:, 0]] != classes[drawn[:, 1]]]), axis=0)
    rows = np.concatenate([same, random.permutation(different)[:most]])
    return rows[:, 0], rows[:, 1]


def _combinations(
    rows: npt.NDArray[np.int64], random: np.random.Generator, most: int
) -> npt.NDArray[np.int64]:
    """Pairs of one class; of a very large class, those of a random part of it."""
    side = int(np.sqrt(2 * most)) + 2
    part = random.choice(rows, side, replace=False) if len(rows) > side else rows
    first, second = np.triu_indices(len(part), 1)
    return np.stack([part[first], part[second]], axis=1)
