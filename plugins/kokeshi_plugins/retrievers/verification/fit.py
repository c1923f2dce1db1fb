"""Fits verification: half of the sample sets curves and thresholds, the other half measures them.

Rates measured where a threshold was chosen flatter it; here no item is on both sides.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Pairs, Sample
from kokeshi_plugins.retrievers.fitted import Fitted, Record, labelled, thinned
from kokeshi_plugins.retrievers.verification.calibration import Calibration, Kind, calibrate
from kokeshi_plugins.retrievers.verification.opis import Consistency, consistency
from kokeshi_plugins.retrievers.verification.pairs import ScoredPairs, checked, judged, of_items
from kokeshi_plugins.retrievers.verification.rates import (
    Point,
    intervals,
    point_at,
    threshold_for_false_matches,
    threshold_for_false_non_matches,
)
from kokeshi_plugins.retrievers.verification.subjects import PAIR, set_scores

Settings = Mapping[str, Any]
KINDS: tuple[Kind, ...] = ("isotonic", "platt")


class Operation(Record):
    """Verification at one prefix length, by one rule.

    Attributes:
        dimension: prefix length.
        rule: of `subjects.RULES`, or `subjects.PAIR`.
        references: in a set when this was fitted; 1 for a pair.
        calibration: of P(same).
        upper: from its threshold on, the same; rates are of the held-out half.
        lower: below its threshold, different; between the two, uncertain.
        brier: mean squared error of P(same) on the held-out half, weighted to the prior; always
            saying the prior would have (1 - prior) prior.
    """

    dimension: int
    rule: str
    references: int
    calibration: Calibration
    upper: Point
    lower: Point
    brier: float


class Verification(Fitted):
    """Operations by prefix length, on pairs and on sets, and OPIS where labels were given.

    `sets_missing` says why `sets` is empty.
    """

    pairs: tuple[Operation, ...]
    sets: tuple[Operation, ...] = ()
    sets_missing: str = ""
    consistency: Mapping[int, Consistency] = {}


def fit(sample: Sample, settings: Settings) -> Verification:
    """Fits on judged pairs where they are given, else on labelled items at every trained length.

    Raises:
        InvalidRequestError: the sample has neither, or too little of it for the wanted rates.
    """
    _check(settings)
    if sample.pairs is not None:
        dimension = sample.trained[-1]
        operation = _operation(
            *_halves_of(sample.pairs, sample.seed), dimension, settings, sample.seed
        )
        missing = "judged pairs say nothing of sets; expected labelled items"
        return Verification(pairs=(operation,), sets_missing=missing, space=sample.space)
    return _of_labels(sample, settings)


def _of_labels(sample: Sample, settings: Settings) -> Verification:
    sample = thinned(sample, settings["most_items"])
    vectors, classes, names = labelled(sample)
    halves = _item_halves(classes, sample.seed)
    pairs = []
    for dimension in sample.trained:
        fitted, held_out = (
            of_items(vectors[half], classes[half], dimension, settings["most_pairs"], sample.seed)
            for half in halves
        )
        pairs.append(_operation(fitted, held_out, dimension, settings, sample.seed))
    sets, missing = _sets(vectors, classes, sample, halves, settings)
    rates = settings["opis_highest_rate"], settings["opis_lowest_rate"]
    agreement = {
        dimension: consistency(vectors[:, :dimension], classes, names, rates, settings["epsilon"])
        for dimension in sample.trained
    }
    return Verification(
        pairs=tuple(pairs),
        sets=sets,
        sets_missing=missing,
        consistency=agreement,
        space=sample.space,
    )


def _sets(
    vectors: npt.NDArray[np.float64],
    classes: npt.NDArray[np.int64],
    sample: Sample,
    halves: tuple[npt.NDArray[np.int64], ...],
    settings: Settings,
) -> tuple[tuple[Operation, ...], str]:
    """Operations on sets, by the rule that misses least on the fitting half; or why there are none.

    Pairs alone are worth having, so too small a sample for sets is no error.
    """
    references, found = settings["references"], []
    try:
        for dimension in sample.trained:
            fitted, held_out = (
                set_scores(vectors[half], classes[half], dimension, references, sample.seed)
                for half in halves
            )
            rule = min(fitted, key=lambda name: _miss_rate(fitted[name], settings))
            found.append(
                _operation(
                    fitted[rule], held_out[rule], dimension, settings, sample.seed, rule, references
                )
            )
    except InvalidRequestError as error:
        return (), str(error)
    return tuple(found), ""


def _miss_rate(pairs: ScoredPairs, settings: Settings) -> float:
    different = pairs.scores[~pairs.same]
    threshold = threshold_for_false_matches(different, settings["false_match_rate"])
    return float((pairs.scores[pairs.same] < threshold).mean())


def _operation(
    fitted: ScoredPairs,
    held_out: ScoredPairs,
    dimension: int,
    settings: Settings,
    seed: int,
    rule: str = PAIR,
    references: int = 1,
) -> Operation:
    wanted = settings["false_match_rate"], settings["false_non_match_rate"]
    upper = threshold_for_false_matches(fitted.scores[~fitted.same], wanted[0])
    lower = threshold_for_false_non_matches(fitted.scores[fitted.same], wanted[1])
    prior, draws = settings["prior"], settings["draws"]
    calibration = calibrate(fitted, settings["kind"], prior, draws, seed)
    weights = intervals(held_out, draws, seed)
    return Operation(
        dimension=dimension,
        rule=rule,
        references=references,
        calibration=calibration,
        upper=point_at(held_out, upper, weights),
        # Where one threshold keeps both rates, nothing is uncertain.
        lower=point_at(held_out, min(lower, upper), weights),
        brier=_brier(calibration, held_out),
    )


def _brier(calibration: Calibration, held_out: ScoredPairs) -> float:
    errors = (calibration.probability(held_out.scores) - held_out.same) ** 2
    prior, same = calibration.prior, held_out.same
    return float(prior * errors[same].mean() + (1 - prior) * errors[~same].mean())


def _item_halves(
    classes: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of both sides: every other item of each class, after mixing."""
    random = np.random.default_rng(seed)
    mixed = random.permutation(len(classes))
    mixed = mixed[np.argsort(classes[mixed], kind="stable")]
    return np.sort(mixed[::2]), np.sort(mixed[1::2])


def _halves_of(pairs: Pairs, seed: int) -> tuple[ScoredPairs, ScoredPairs]:
    judged(pairs.scores, pairs.same)
    halves = _item_halves(pairs.same.astype(np.int64), seed)
    first, second = (judged(pairs.scores[half], pairs.same[half]) for half in halves)
    return checked(first), checked(second)


def _check(settings: Settings) -> None:
    if settings["kind"] not in KINDS:
        raise InvalidRequestError(
            f"expected a curve out of {', '.join(map(repr, KINDS))}, got {settings['kind']!r}"
        )
