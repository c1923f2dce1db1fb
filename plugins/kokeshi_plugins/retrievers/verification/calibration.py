"""From a similarity to the probability that two things are the same.

Isotonic: the pool-adjacent-violators fit (Zadrozny, Elkan; KDD 2002), read with straight lines
between its steps. Platt: a logistic curve on smoothed targets (Platt; 1999).
Reading either needs numpy alone.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kokeshi.plugin import go_on
from kokeshi_plugins.retrievers.fitted import Array, Record
from kokeshi_plugins.retrievers.verification.pairs import ScoredPairs
from kokeshi_plugins.retrievers.verification.rates import quantiles

Kind = Literal["isotonic", "platt"]
GRID: Final = 129  # scores at which the interval is kept
NEWTON_STEPS: Final = 100  # five to ten are taken


class Calibration(Record):
    """P(same) over the score.

    Attributes:
        scores: (points,) float64, rising.
        probabilities: (points,) float64; isotonic: its corners; Platt: empty.
        slope: of Platt's curve, 1 / (1 + exp(-(slope score + offset))); isotonic: 0.
        grid: (GRID,) float64 scores of the interval.
        low: (GRID,) float64, 2.5 % quantile of the probability there.
        high: (GRID,) float64, 97.5 % quantile.
        prior: share of same pairs among the pairs in use that the probabilities hold for.
    """

    kind: Kind
    scores: Array
    probabilities: Array
    slope: float
    offset: float
    grid: Array
    low: Array
    high: Array
    prior: float

    def probability(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """P(same) of any number of scores; outside what was seen, that of the nearest seen."""
        wide = np.asarray(scores, np.float64)
        if self.kind == "platt":
            return _logistic(self.slope * wide + self.offset)
        return np.interp(wide, self.scores, self.probabilities)

    def interval(self, score: float) -> tuple[float, float]:
        """The 95 % interval of P(same) at a score."""
        low, high = (np.interp(score, self.grid, side) for side in (self.low, self.high))
        return float(low), float(high)


def calibrate(pairs: ScoredPairs, kind: Kind, prior: float, draws: int, seed: int) -> Calibration:
    """Fits P(same), and its interval from `draws` refits on resampled items.

    Args:
        pairs: to fit on.
        kind: the curve.
        prior: share of same pairs in use; the pairs are weighted to it, and to a total of their
            number.
        draws: of the bootstrap, at least 2.
        seed: of the bootstrap.
    """
    balance = balanced(pairs.same, prior)
    grid = np.linspace(pairs.scores.min(), pairs.scores.max(), GRID)
    random = np.random.default_rng(seed)
    drawn = (balance * pairs.resampled(random) for _ in range(draws))
    # few items may leave a draw without a pair
    curves = [_curve(pairs, kind, weights).at(grid) for weights in drawn if weights.any()]
    best = _curve(pairs, kind, balance)
    low, high = quantiles(curves or [best.at(grid)])
    return Calibration(
        kind=kind,
        scores=best.scores,
        probabilities=best.probabilities,
        slope=best.slope,
        offset=best.offset,
        grid=grid,
        low=low,
        high=high,
        prior=prior,
    )


def balanced(same: npt.NDArray[np.bool_], prior: float) -> npt.NDArray[np.float64]:
    """Weights (pairs,) that make the same pairs a share `prior`."""
    count, alike = len(same), same.sum()
    return np.where(same, prior * count / alike, (1 - prior) * count / (count - alike))


class _Curve(Record):
    scores: Array
    probabilities: Array
    slope: float = 0.0
    offset: float = 0.0

    def at(self, grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if len(self.scores):
            return np.interp(grid, self.scores, self.probabilities)
        return _logistic(self.slope * grid + self.offset)


def _curve(pairs: ScoredPairs, kind: Kind, weights: npt.NDArray[np.float64]) -> _Curve:
    go_on()
    kept = weights > 0
    scores, same, weights = pairs.scores[kept], pairs.same[kept], weights[kept]
    if same.all() or not same.any():  # a draw without one of the kinds says nothing of either
        return _Curve(scores=scores[:1], probabilities=np.array([np.mean(same)]))
    return (_isotonic if kind == "isotonic" else _platt)(scores, same, weights)


def _isotonic(
    scores: npt.NDArray[np.float64],
    same: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
) -> _Curve:
    from scipy.optimize import isotonic_regression

    # Equal scores are one point, whose probability is the mean of theirs.
    corners, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights)
    means = np.bincount(place, weights * same) / mass
    fitted = isotonic_regression(means, weights=mass).x
    # Inside a run of equal values nothing bends.
    is_corner = np.ones(len(corners), bool)
    is_corner[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return _Curve(scores=corners[is_corner], probabilities=fitted[is_corner])


def _platt(
    scores: npt.NDArray[np.float64],
    same: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
) -> _Curve:
    """Newton's method on two numbers, which a general solver takes many times as long over.

    Platt's targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2). They keep the optimum finite where a
    score splits the pairs; the loss is convex, and a step that raises it is halved.
    """
    alike, others = weights[same].sum(), weights[~same].sum()
    target = np.where(same, (alike + 1) / (alike + 2), 1 / (others + 2))
    features = np.stack([scores, np.ones_like(scores)])
    curve = np.array([0.0, np.log(alike / others)])
    loss = _log_loss(curve, features, target, weights)
    for _ in range(NEWTON_STEPS):
        found = _logistic(curve @ features)
        slope = features @ (weights * (found - target))
        bend = (features * (weights * found * (1 - found))) @ features.T
        step = np.linalg.solve(bend + np.eye(2) * 1e-12 * np.trace(bend), slope)
        while (tried := _log_loss(curve - step, features, target, weights)) > loss and step.any():
            step = np.where(np.abs(step) > np.finfo(float).eps, step / 2, 0)
        curve = curve - step
        if loss - tried <= 1e-14 * loss:
            break
        loss = tried
    empty = np.empty(0)
    return _Curve(scores=empty, probabilities=empty, slope=curve[0], offset=curve[1])


def _log_loss(
    curve: npt.NDArray[np.float64],
    features: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> float:
    values = curve @ features
    return float(weights @ (np.logaddexp(0, values) - target * values))


def _logistic(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    falling = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, falling) / (1 + falling)
