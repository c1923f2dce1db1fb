"""Verification: same, different or uncertain, with its probability and its error rates.

Threshold-Consistent Margin Loss for Open-World Deep Metric Learning (Zhang, Xu, Tang et al.;
ICLR 2024), https://arxiv.org/abs/2307.04047, for the disagreement of classes about a threshold
(`opis`); the calibrations are Platt's and the isotonic one (`calibration`). TCM itself is a loss
for training, and nothing of it is served.
"""

from collections.abc import Mapping
from typing import Any, Final

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import RATE, Bounds, Neighbours, Paper, Retriever
from kokeshi_plugins.retrievers.limits import PAIRED_ITEMS
from kokeshi_plugins.retrievers.verification.figures import figures
from kokeshi_plugins.retrievers.verification.fit import Operation, Verification, fit
from kokeshi_plugins.retrievers.verification.subjects import PAIR, RULES

PAPER: Final = Paper(
    title="Threshold-Consistent Margin Loss for Open-World Deep Metric Learning",
    authors="Zhang, Xu, Tang, Fang, Wu, Tighe, Xing",
    year=2024,
    url="https://arxiv.org/abs/2307.04047",
)
DEFAULTS: Final[Mapping[str, Any]] = {
    "kind": "isotonic",
    "false_match_rate": 0.001,  # wanted of "same"
    "false_non_match_rate": 0.01,  # wanted of "different"
    "prior": 0.5,  # share of same pairs among those that will be asked about
    "references": 3,  # in a subject's set
    "draws": 200,  # of each bootstrap
    "most_items": 4000,  # of a fit; OPIS compares all of them
    "most_pairs": 20_000,  # of each kind and half; time grows with draws times this
    "opis_highest_rate": 0.1,  # false-match rate at the lower end of the interval of OPIS
    "opis_lowest_rate": 0.01,  # and at its upper end
    "epsilon": 0.1,  # share of classes that is worst, or best, in eps-OPIS
}

MOST_DRAWS: Final = 2_000  # time: each fits and counts all pairs again
MOST_PAIRS: Final = 200_000  # memory and time, of each kind and half
MOST_REFERENCES: Final = 1_000
LEAST_PRIOR: Final = 1e-6
BOUNDS: Final[Mapping[str, Bounds]] = {
    "false_match_rate": RATE,
    "false_non_match_rate": RATE,
    "prior": Bounds(LEAST_PRIOR, 1 - LEAST_PRIOR),
    "references": Bounds(1, MOST_REFERENCES),
    "draws": Bounds(2, MOST_DRAWS),
    "most_items": PAIRED_ITEMS,
    "most_pairs": Bounds(1, MOST_PAIRS),
    "opis_highest_rate": RATE,
    "opis_lowest_rate": RATE,
    "epsilon": RATE,
}


def answer(
    neighbours: Neighbours, settings: Mapping[str, Any], model: Verification
) -> dict[str, Any]:
    """Verifies a query against one reference or against a subject's set.

    Returns:
        `verdict` ("same", "different", "uncertain"), `score`, `rule`, `probability` with
        `probability_interval` and the `prior` that it holds for, `upper_threshold` with its
        `false_match_rate`, `lower_threshold` with its `false_non_match_rate`: each a rate measured
        on held-out items, as {value, low, high, count}; `references` (compared) and
        `fitted_references`.

    Raises:
        DimensionError: nothing was fitted at this length.
        InvalidRequestError: there is no reference, scores are distances, nothing was fitted on
            sets, or there are more references than in a set.
    """
    if not neighbours.ids or not neighbours.higher_is_better:
        raise InvalidRequestError("expected similarities to at least one reference")
    operation = _chosen(neighbours, model)
    _check_size(neighbours, operation)
    scores = neighbours.scores
    score = float(scores[0] if operation.rule == PAIR else RULES[operation.rule](scores))
    return {
        "verdict": _verdict(score, operation),
        "score": score,
        "rule": operation.rule,
        "probability": float(operation.calibration.probability(score)),
        "probability_interval": list(operation.calibration.interval(score)),
        "prior": operation.calibration.prior,
        "upper_threshold": operation.upper.threshold,
        "false_match_rate": operation.upper.false_match_rate.model_dump(),
        "lower_threshold": operation.lower.threshold,
        "false_non_match_rate": operation.lower.false_non_match_rate.model_dump(),
        "references": len(neighbours.ids),
        "fitted_references": operation.references,
        "dimension": operation.dimension,
    }


def _chosen(neighbours: Neighbours, model: Verification) -> Operation:
    """Pairs where there is one reference, sets where there are more."""
    operations = model.pairs if len(neighbours.ids) == 1 else model.sets
    if not operations:
        raise InvalidRequestError(f"sets are not verified here: {model.sets_missing}")
    by_length = {operation.dimension: operation for operation in operations}
    wanted = max(by_length) if neighbours.dimension is None else neighbours.dimension
    if wanted not in by_length:
        fitted = ", ".join(map(str, sorted(by_length)))
        raise DimensionError(f"verification is fitted at lengths {fitted}, not at {wanted!r}")
    return by_length[wanted]


def _check_size(neighbours: Neighbours, operation: Operation) -> None:
    """Refuses more references than the rates were measured for.

    The best few of many are nearer than a few that were drawn, to a stranger too: what counts is
    how many were searched, not how many came of it.
    """
    searched = max(neighbours.count, len(neighbours.ids))
    if searched > operation.references:
        raise InvalidRequestError(
            f"the error rates are those of {operation.references} references, and these are the "
            f"nearest {len(neighbours.ids)} of {searched} items: verify against an item or a "
            "subject, of which as many are drawn, or fit with more 'references'"
        )


def _verdict(score: float, operation: Operation) -> str:
    if score >= operation.upper.threshold:
        return "same"
    return "different" if score < operation.lower.threshold else "uncertain"


VERIFICATION: Final = Retriever(
    name="verification",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    fit=fit,
    figures=figures,
    model=Verification,
    defaults=DEFAULTS,
    bounds=BOUNDS,
    packages=("scipy",),
    rows=(316,),
    summary="Same, different or uncertain, with probability, error rates and OPIS.",
)
