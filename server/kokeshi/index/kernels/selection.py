"""The k best of many scores, without sorting them, where rounding blurs their order."""

import threading
from typing import Final, NamedTuple

import numpy as np

from kokeshi.index.items import Vector
from kokeshi.index.kernels.parts import Positions

_LANES: Final = 64  # rows that compete for one seat in the preselection


class Chosen(NamedTuple):
    """Some rows, all three (n,).

    Attributes:
        positions: of the rows.
        scores: float32, the most that a row's score can be but for what all rows share.
        floors: float32, the least.
    """

    positions: Positions
    scores: Vector
    floors: Vector


class Bar:
    """What a score must reach to be among the k best of all that were seen so far."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._best = np.empty(0, np.float32)
        self._raising = threading.Lock()
        self.height = -np.inf

    def raise_by(self, floors: Vector) -> None:
        """Counts rows in; none may come twice."""
        with self._raising:
            best = np.concatenate([self._best, floors])
            if len(best) >= self._k:
                best = np.partition(best, len(best) - self._k)[len(best) - self._k :]
                self.height = float(best[0])
            self._best = best


def above(scores: Vector, k: int, bar: Bar, doubt: float | Vector) -> Chosen:
    """All rows that can be among the k best, and few others; raises the bar.

    Args:
        scores: (n,) float32, the most that each row's score can be; -inf where it may not be found.
        k: how many are wanted, at least 1.
        bar: of all rows, of which these are some.
        doubt: how much less each score can be; one number, or (n,).
    """
    # one doubt for all is taken off the bound, not off every score
    floors, common = (scores, doubt) if isinstance(doubt, float) else (scores - doubt, 0.0)
    bound = max(_bound(floors, k) - common, bar.height)
    positions = np.flatnonzero(scores >= bound) if bound > -np.inf else _found(scores)
    chosen = _best(Chosen(positions, scores[positions], floors[positions] - common), k)
    bar.raise_by(chosen.floors)
    return chosen


def best(pieces: list[Chosen], k: int) -> Chosen:
    """The k best of all pieces and what doubt cannot tell from them."""
    if not pieces:
        return Chosen(np.empty(0, np.intp), np.empty(0, np.float32), np.empty(0, np.float32))
    return _best(Chosen(*map(np.concatenate, zip(*pieces, strict=True))), k)


def _best(some: Chosen, k: int) -> Chosen:
    surplus = len(some.positions) - k
    if surplus <= 0:
        return some
    keep = some.scores >= np.partition(some.floors, surplus)[surplus]
    return Chosen(some.positions[keep], some.scores[keep], some.floors[keep])


def _found(scores: Vector) -> Positions:
    return np.flatnonzero(scores > -np.inf)


def _bound(scores: Vector, k: int) -> float:
    """A score that at least k reach: the k-th best of the winners of as many lanes."""
    lanes = len(scores) // _LANES
    if lanes <= k:
        return -np.inf
    winners = scores[: lanes * _LANES].reshape(_LANES, lanes).max(axis=0)
    return float(np.partition(winners, lanes - k)[lanes - k])
