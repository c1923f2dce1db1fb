"""Open-set rejection: says when a query is like nothing that is stored.

Three scores, higher for what is known:

- "similarity": the cosine of the nearest item.
- "energy": the negative energy of modern Hopfield retrieval over the neighbours (`hopfield`).
- "evm": the Extreme Value Machine (Rudd, Jain, Scheirer, Boult; TPAMI 2018),
  https://arxiv.org/abs/1506.06112. Half of an item's distances to the nearest items of other
  classes follow a Weibull law of shape c and scale s; that a query at distance d is inside the
  item's margin has the probability exp(-(d / s)^c). The score is the mean of the highest `fuse` of
  these among the neighbours of one label, the best label's. The paper takes the highest one, its
  authors' code the mean of 4; the code's fit (libmr) also moves the law's origin, which the paper
  does not.

The threshold is a wanted share of false alarms on half of the sample, each item compared with all
others; the other half measures that share. How much of the unknown is caught is measured by taking
whole classes away, refitting, and asking for them.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import RATE, Bounds, Neighbours, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fitted import (
    Array,
    Fitted,
    Rate,
    clopper_pearson,
    labelled,
    thinned,
)
from kokeshi_plugins.retrievers.limits import BETA, NEIGHBOURS, PAIRED_ITEMS
from kokeshi_plugins.retrievers.tails import weibull

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Laws = tuple[Floats, Floats]
TAILS: Final = Bounds(2, 500)  # time and memory of the laws, for each class taken away again
MOST_UNKNOWN_CLASSES: Final = 200  # time: all is scored anew for each
KINDS: Final = ("similarity", "energy", "evm")
PAPER: Final = Paper(
    title="The Extreme Value Machine",
    authors="Rudd, Jain, Scheirer, Boult",
    year=2018,
    url="https://arxiv.org/abs/1506.06112",
)


class OpenSet(Fitted):
    """A threshold on one of the scores.

    Attributes:
        kind: of `KINDS`.
        threshold: unknown below it.
        neighbours: that the score is taken over.
        beta: of the energy.
        fuse: see above.
        false_alarms: share of known items called unknown, held out.
        caught: share of items called unknown when their class was taken away.
        ids: of the items with a law; empty but for "evm".
        labels: of those items.
        shapes: (items,) float64.
        scales: (items,) float64.
    """

    kind: str
    threshold: float
    neighbours: int
    beta: float
    fuse: int
    false_alarms: Rate
    caught: Rate
    ids: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    shapes: Array
    scales: Array


def fit(sample: Sample, settings: Mapping[str, Any]) -> OpenSet:
    """Chooses the threshold, and measures what it does.

    Raises:
        InvalidRequestError: fewer than three labels, too few items for the wanted share of false
            alarms, or "evm" without ids.
    """
    _check(sample, settings)
    sample = thinned(sample, settings["most_items"])
    vectors, classes, names = labelled(sample, least=3)
    cosines = vectors @ vectors.T
    kept = [row for row, label in enumerate(sample.labels) if label]
    laws = _laws(cosines, classes, settings)
    np.fill_diagonal(cosines, -np.inf)
    known = _scores(cosines, classes, laws, settings)
    mixed = np.random.default_rng(sample.seed).permutation(len(known))
    first, second = mixed[::2], mixed[1::2]
    threshold = _threshold(known[first], settings["false_alarm_rate"])
    is_evm = settings["kind"] == "evm"
    return OpenSet(
        kind=settings["kind"],
        threshold=threshold,
        neighbours=settings["neighbours"],
        beta=settings["beta"],
        fuse=settings["fuse"],
        false_alarms=clopper_pearson(int((known[second] < threshold).sum()), len(second)),
        caught=_caught(cosines, classes, threshold, settings, sample.seed),
        ids=tuple(sample.ids[row] for row in kept) if is_evm else (),
        labels=tuple(names[number] for number in classes) if is_evm else (),
        shapes=laws[0],
        scales=laws[1],
        space=sample.space,
    )


def answer(neighbours: Neighbours, settings: Mapping[str, Any], model: OpenSet) -> dict[str, Any]:
    """Whether a query is known.

    Returns:
        `is_known`, `score`, `threshold`, `kind`, and `false_alarms` and `caught` as fitted.

    Raises:
        InvalidRequestError: scores are distances, or "evm" was fitted on none of the neighbours.
    """
    del settings
    if not neighbours.higher_is_better:
        raise InvalidRequestError("expected cosines, got distances")
    score = _score_of(neighbours, model) if neighbours.ids else -np.inf
    return {
        "is_known": bool(score >= model.threshold),
        "score": float(score) if neighbours.ids else None,
        "threshold": model.threshold,
        "kind": model.kind,
        "false_alarms": model.false_alarms.model_dump(),
        "caught": model.caught.model_dump(),
    }


def energies(cosines: Floats, beta: float) -> Floats:
    """Hopfield energies (n,) of unit queries over unit patterns, from cosines (n, k)."""
    peak = cosines.max(axis=1)
    lse = peak + np.log(np.exp(beta * (cosines - peak[:, None])).mean(axis=1)) / beta
    energy: Floats = 1 - lse
    return energy


def _score_of(neighbours: Neighbours, model: OpenSet) -> float:
    cosines = neighbours.scores[: model.neighbours].astype(np.float64)[None]
    if model.kind != "evm":
        return float(_plain_scores(cosines, model.kind, model.beta)[0])
    row_of = {key: row for row, key in enumerate(model.ids)}
    pairs = [
        (column, row_of[key])
        for column, key in enumerate(neighbours.ids[: model.neighbours])
        if key in row_of
    ]
    if not pairs:
        raise InvalidRequestError("none of the neighbours was there when this was fitted")
    columns, rows = (list(side) for side in zip(*pairs, strict=True))
    inside = _inside(cosines[:, columns], model.shapes[rows], model.scales[rows])
    numbers = np.unique([model.labels[row] for row in rows], return_inverse=True)[1]
    return float(_fused(inside, numbers[None], model.fuse)[0])


def _scores(cosines: Floats, classes: Classes, laws: Laws, settings: Mapping[str, Any]) -> Floats:
    """Scores (n,) of rows of cosines (n, items); -inf leaves an item out."""
    few = min(settings["neighbours"], cosines.shape[1] - 1)
    columns = np.argsort(-cosines, axis=1, kind="stable")[:, :few]
    near = np.take_along_axis(cosines, columns, axis=1)
    if settings["kind"] != "evm":
        return _plain_scores(near, settings["kind"], settings["beta"])
    inside = _inside(near, laws[0][columns], laws[1][columns])
    return _fused(inside, classes[columns], settings["fuse"])


def _plain_scores(cosines: Floats, kind: str, beta: float) -> Floats:
    return cosines[:, 0] if kind == "similarity" else -energies(cosines, beta)


def _inside(cosines: Floats, shapes: Floats, scales: Floats) -> Floats:
    """Probabilities of being inside the items' margins."""
    probabilities: Floats = np.exp(-((_distances(cosines) / scales) ** shapes))
    return probabilities


def _fused(inside: Floats, classes: Classes, fuse: int) -> Floats:
    """The best label's mean of its highest `fuse` probabilities, of (n, k) to (n,)."""
    best = np.zeros(len(inside))
    for number in np.unique(classes):
        own = np.where(classes == number, inside, np.nan)
        highest = -np.sort(-own, axis=1)[:, :fuse]  # NaN last
        counts = (~np.isnan(highest)).sum(axis=1)
        best = np.maximum(best, np.nansum(highest, axis=1) / np.maximum(counts, 1))
    return best


def _laws(cosines: Floats, classes: Classes, settings: Mapping[str, Any]) -> Laws:
    """Weibull laws of the items' margins; none but for "evm"."""
    if settings["kind"] != "evm":
        return np.empty(0), np.empty(0)
    others = np.where(classes[:, None] == classes, np.inf, _distances(cosines))
    fewest = int(np.isfinite(others).sum(axis=1).min())
    tail = min(settings["tail"], fewest)
    margins = np.partition(others, tail - 1, axis=1)[:, :tail] / 2
    return weibull(margins)


def _distances(cosines: Floats) -> Floats:
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def _threshold(known: Floats, false_alarm_rate: float) -> float:
    allowed = int(np.floor(len(known) * false_alarm_rate + 1e-9))
    if allowed < 1:
        raise InvalidRequestError(
            f"a share of {false_alarm_rate!r} false alarms cannot be measured on {len(known)} items"
        )
    return float(np.partition(known, allowed)[allowed])


def _caught(
    cosines: Floats, classes: Classes, threshold: float, settings: Mapping[str, Any], seed: int
) -> Rate:
    """Share of items below the threshold where nothing of their class is stored."""
    numbers = np.unique(classes)
    few = min(settings["unknown_classes"], len(numbers))
    caught, asked = 0, 0
    for number in np.random.default_rng(seed).choice(numbers, few, replace=False):
        go_on()
        away, rest = np.flatnonzero(classes == number), np.flatnonzero(classes != number)
        inner = cosines[np.ix_(rest, rest)].copy()
        np.fill_diagonal(inner, 1)
        laws = _laws(inner, classes[rest], settings)
        found = _scores(cosines[np.ix_(away, rest)], classes[rest], laws, settings)
        caught, asked = caught + int((found < threshold).sum()), asked + len(away)
    return clopper_pearson(caught, asked)


def _check(sample: Sample, settings: Mapping[str, Any]) -> None:
    if settings["kind"] not in KINDS:
        expected = ", ".join(map(repr, KINDS))
        raise InvalidRequestError(f"expected a kind out of {expected}, got {settings['kind']!r}")
    if settings["kind"] == "evm" and len(sample.ids) != len(sample.vectors):
        raise InvalidRequestError(
            f"expected an id for each of {len(sample.vectors)} items, got {len(sample.ids)}"
        )


def figures(model: OpenSet) -> dict[str, Any]:
    """`kind`, `threshold`, and the rates `false_alarms` and `caught`, held out."""
    return model.model_dump(include={"kind", "threshold", "false_alarms", "caught"})


OPEN_SET: Final = Retriever(
    name="open_set",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    fit=fit,
    figures=figures,
    model=OpenSet,
    defaults={
        "kind": "similarity",
        "false_alarm_rate": 0.05,
        "neighbours": 10,
        "beta": 16.0,
        "tail": 50,  # other items behind each law; the authors' default
        "fuse": 1,
        "most_items": 4000,  # of a fit; its time and memory grow with the square
        "unknown_classes": 20,  # taken away in turn to measure what is caught
    },
    bounds={
        "false_alarm_rate": RATE,
        "neighbours": NEIGHBOURS,
        "beta": BETA,
        "tail": TAILS,
        "fuse": NEIGHBOURS,
        "most_items": PAIRED_ITEMS,
        "unknown_classes": Bounds(1, MOST_UNKNOWN_CLASSES),
    },
    packages=("scipy",),
    summary="Says when a query is like nothing stored, at a measured rate of false alarms.",
)
