"""Prototype classification: the class whose mean is nearest, with the right to abstain.

Prototypical Networks for Few-shot Learning (Snell, Swersky, Zemel; NIPS 2017),
https://arxiv.org/abs/1703.05175: the mean of a class's embeddings stands for it. "cosine" compares
directions, "euclidean" is the authors' distance.

The margin between the first class and the second decides on abstaining. The fit takes the smallest
margin at which the wanted share of the answers of half the sample is right, each item left out of
its own class's mean, and measures both the errors and the answers on the other half.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import RATE, Neighbours, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fitted import Array, Fitted, Rate, clopper_pearson, labelled, unit

Floats = npt.NDArray[np.float64]
RULES: Final = ("cosine", "euclidean")
PAPER: Final = Paper(
    title="Prototypical Networks for Few-shot Learning",
    authors="Snell, Swersky, Zemel",
    year=2017,
    url="https://arxiv.org/abs/1703.05175",
)


class Prototypes(Fitted):
    """Means of unit vectors by class.

    Attributes:
        labels: of the classes.
        means: (classes, dim) float64.
        counts: of the items behind each mean.
        rule: of `RULES`.
        least_margin: abstains below it.
        error_rate: of the answers given, held out.
        answered: share of the items that were answered, held out.
    """

    labels: tuple[str, ...]
    means: Array
    counts: tuple[int, ...]
    rule: str
    least_margin: float
    error_rate: Rate
    answered: Rate


def fit(sample: Sample, settings: Mapping[str, Any]) -> Prototypes:
    """Means, and the margin from which on answers are given.

    Raises:
        InvalidRequestError: fewer than two labels, a label of one item, or a setting out of range.
    """
    if settings["rule"] not in RULES or not 0 < settings["error_rate"] < 1:
        expected = ", ".join(map(repr, RULES))
        raise InvalidRequestError(
            f"expected a rule out of {expected} and an error rate in (0, 1), got "
            f"{settings['rule']!r} and {settings['error_rate']!r}"
        )
    vectors, classes, names = labelled(sample)
    counts = np.bincount(classes)
    if counts.min() < 2:  # noqa: PLR2004 - each is left out once
        raise InvalidRequestError(f"label {names[int(counts.argmin())]!r} has one item alone")
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, classes, vectors)
    go_on()
    margins, is_right = _left_out(vectors, classes, sums, counts, settings["rule"])
    mixed = np.random.default_rng(sample.seed).permutation(len(classes))
    fitted, held_out = mixed[::2], mixed[1::2]
    least = _least_margin(margins[fitted], is_right[fitted], settings["error_rate"])
    given = margins[held_out] >= least
    return Prototypes(
        labels=names,
        means=sums / counts[:, None],
        counts=tuple(map(int, counts)),
        rule=settings["rule"],
        least_margin=least,
        error_rate=clopper_pearson(int((given & ~is_right[held_out]).sum()), max(given.sum(), 1)),
        answered=clopper_pearson(int(given.sum()), len(given)),
        space=sample.space,
    )


def answer(
    neighbours: Neighbours, settings: Mapping[str, Any], model: Prototypes
) -> dict[str, Any]:
    """The class of a query.

    Returns:
        `label`, None where it abstains; `margin`; `scores` of all labels, nearest first (cosines,
        or Euclidean distances with their sign turned); `error_rate` and `answered` as fitted.

    Raises:
        InvalidRequestError: there is no query.
        DimensionError: it is of another length than the means.
    """
    del settings
    if neighbours.query is None:
        raise InvalidRequestError("expected the query's vector")
    if len(neighbours.query) != model.means.shape[1]:
        raise DimensionError(
            f"the prototypes take vectors of length {model.means.shape[1]}, got "
            f"{len(neighbours.query)}"
        )
    scores = nearness(unit(neighbours.query[None]), model.means, model.rule)[0]
    order = np.argsort(-scores, kind="stable")
    margin = float(scores[order[0]] - scores[order[1]])
    return {
        "label": model.labels[order[0]] if margin >= model.least_margin else None,
        "margin": margin,
        "scores": {model.labels[row]: float(scores[row]) for row in order},
        "error_rate": model.error_rate.model_dump(),
        "answered": model.answered.model_dump(),
    }


def nearness(vectors: Floats, means: Floats, rule: str) -> Floats:
    """Scores (n, classes), larger nearer, of (n, dim) to (classes, dim)."""
    if rule == "cosine":
        cosines: Floats = vectors @ unit(means).T
        return cosines
    squares = (vectors**2).sum(axis=1)[:, None] + (means**2).sum(axis=1)
    return -np.sqrt(np.maximum(squares - 2 * vectors @ means.T, 0))


def _own_nearness(vectors: Floats, means: Floats, rule: str) -> Floats:
    """Scores (n,) of (n, dim) to a mean each, (n, dim)."""
    if rule == "cosine":
        cosines: Floats = np.einsum("nd,nd->n", vectors, unit(means))
        return cosines
    return -np.linalg.norm(vectors - means, axis=1)


def _left_out(
    vectors: Floats,
    classes: npt.NDArray[np.int64],
    sums: Floats,
    counts: npt.NDArray[np.int64],
    rule: str,
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Margins (n,) and whether the first class is the right one, each item left out of its mean."""
    own = (sums[classes] - vectors) / (counts[classes] - 1)[:, None]
    scores = nearness(vectors, sums / counts[:, None], rule)
    rows = np.arange(len(classes))
    scores[rows, classes] = _own_nearness(vectors, own, rule)
    ranked = np.partition(scores, -2, axis=1)
    return ranked[:, -1] - ranked[:, -2], scores.argmax(axis=1) == classes


def _least_margin(margins: Floats, is_right: npt.NDArray[np.bool_], error_rate: float) -> float:
    """The smallest margin from which on at most this share of the answers is wrong."""
    order = np.argsort(-margins)
    wrong = np.cumsum(~is_right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(wrong <= error_rate)
    last = good[-1] if len(good) else 0
    return 0.0 if last == len(order) - 1 else float(margins[order[last]])


def figures(model: Prototypes) -> dict[str, Any]:
    """`rule`, `classes`, `items`, `least_margin`, and `error_rate` and `answered`, held out."""
    told = model.model_dump(include={"rule", "least_margin", "error_rate", "answered"})
    return told | {"classes": len(model.labels), "items": sum(model.counts)}


PROTOTYPES: Final = Retriever(
    name="prototypes",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    fit=fit,
    figures=figures,
    model=Prototypes,
    reads=frozenset({"query"}),
    defaults={"rule": "cosine", "error_rate": 0.01},
    bounds={"error_rate": RATE},
    packages=("scipy",),
    summary="The class whose mean is nearest, or none where two are about as near.",
)
