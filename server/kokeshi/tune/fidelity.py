"""How well a candidate's outputs agree with those of the verified graph, by their meaning."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Fidelity
from kokeshi.contract import Meaning, Output
from kokeshi.errors import SetupError

Values = NDArray[Any]
Measure = Callable[[Values, Values], Values]  # reference and candidate, (N, ...) each, to (N,)

BOUNDS: Final = {
    "cosine": 0.999,
    "top-10 overlap": 0.95,
    "top-1 agreement": 0.99,
    "label agreement": 0.99,
    "mIoU": 0.98,
}
_NEIGHBOURS: Final = 10
_HALF: Final = 0.5


def cosine(reference: Values, candidate: Values) -> Values:
    """Cosine of each row with its reference."""
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(candidate, axis=1)
    return (reference * candidate).sum(axis=1) / np.maximum(norms, 1e-12)


def overlap(reference: Values, candidate: Values) -> Values:
    """Share of the ten nearest rows of the reference that a candidate's row finds among them.

    The rows searched are the reference's: a collection that was filled before is searched with what
    comes after.
    """
    wanted = _nearest(reference, reference)
    found = _nearest(candidate, reference)
    shared = [len(set(one) & set(other)) for one, other in zip(wanted, found, strict=True)]
    return np.array(shared) / wanted.shape[1]


def _nearest(queries: Values, rows: Values) -> Values:
    unit = [
        it / np.maximum(np.linalg.norm(it, axis=1, keepdims=True), 1e-12) for it in (queries, rows)
    ]
    similarities = unit[0] @ unit[1].T
    np.fill_diagonal(similarities, -np.inf)  # not itself
    count = min(_NEIGHBOURS, len(rows) - 1)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def top_1(reference: Values, candidate: Values) -> Values:
    """1 where both name the same class first, else 0."""
    return (reference.argmax(axis=1) == candidate.argmax(axis=1)).astype(np.float64)


def labels(reference: Values, candidate: Values) -> Values:
    """Share of the labels that lie on the same side of a half."""
    return ((reference >= _HALF) == (candidate >= _HALF)).mean(axis=1)


def mean_iou(reference: Values, candidate: Values) -> Values:
    """Intersection over union of each class, averaged over the classes of either map."""
    return np.array(
        [_mean_iou(one, other) for one, other in zip(reference, candidate, strict=True)]
    )


def _mean_iou(reference: Values, candidate: Values) -> float:
    classes = np.union1d(np.unique(reference), np.unique(candidate))
    shares = []
    for each in classes:
        ours, theirs = candidate == each, reference == each
        shares.append((ours & theirs).sum() / (ours | theirs).sum())
    return float(np.mean(shares))


def foreground_iou(reference: Values, candidate: Values) -> Values:
    """As `mean_iou`, of foreground and background, cut at a half."""
    return mean_iou(reference >= _HALF, candidate >= _HALF)


_MEASURES: Final[Mapping[Meaning, Sequence[tuple[str, Measure]]]] = {
    Meaning.EMBEDDING: (("cosine", cosine), ("top-10 overlap", overlap)),
    Meaning.PROBABILITIES: (("top-1 agreement", top_1),),
    Meaning.SCORES: (("label agreement", labels),),
    Meaning.LABEL_MAP: (("mIoU", mean_iou),),
    Meaning.FOREGROUND: (("mIoU", foreground_iou),),
}


def compare(
    outputs: Sequence[Output],
    reference: Mapping[str, Values],
    candidate: Mapping[str, Values],
    bounds: Mapping[str, float],
) -> tuple[Fidelity, ...]:
    """Every measure of every output.

    Args:
        outputs: of the card.
        reference: the verified graph's, (N, ...) by name.
        candidate: the candidate's.
        bounds: for the mean, by measure.

    Raises:
        SetupError: an output is one of points in a ball, for which there is no measure here.
    """
    found = []
    for output in outputs:
        if output.metric == "hyperbolic":
            raise SetupError(
                f"output {output.name!r} is of a hyperbolic space: how well candidates agree there "
                "is not measured, so the model is served as it was exported"
            )
        for name, measure in _MEASURES[output.meaning]:
            per_row = measure(reference[output.name], candidate[output.name])
            values = np.nan_to_num(
                per_row.astype(np.float64), nan=0.0
            )  # no number agrees with none
            mean, worst = float(values.mean()), float(values.min())
            found.append(
                Fidelity(
                    output=output.name, measure=name, mean=mean, worst=worst, bound=bounds[name]
                )
            )
    return tuple(found)


def parse_bounds(asked: Sequence[str]) -> dict[str, float]:
    """The bounds, with those that were asked for as "MEASURE=NUMBER".

    Raises:
        SetupError: no such measure, or no number from 0 to 1.
    """
    bounds = dict(BOUNDS)
    for text in asked:
        name, _, number = text.partition("=")
        known = ", ".join(BOUNDS)
        if name not in BOUNDS:
            raise SetupError(f"fidelity is measured by {known}, not by {name!r}")
        try:
            bounds[name] = float(number)
        except ValueError:
            bounds[name] = -1.0
        if not 0 <= bounds[name] <= 1:
            raise SetupError(f"the bound of {name!r} is a number from 0 to 1, not {number!r}")
    return bounds
