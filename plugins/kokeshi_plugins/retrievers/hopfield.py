"""Modern Hopfield retrieval: the query is pulled to the stored patterns that it is nearest to.

Hopfield Networks is All You Need (Ramsauer, Schaefl, Lehner et al.; ICLR 2021),
https://arxiv.org/abs/2008.02217. Code: https://github.com/ml-jku/hopfield-layers.

With stored patterns X (k, dim), a state xi and an inverse temperature beta, one update is
X^T softmax(beta X xi) (equation 3); beta to infinity is the nearest neighbour, a small beta an
average. An update never raises the energy (equation 2)

    E = -lse(beta, X xi) + xi.xi / 2 + log(k) / beta + M^2 / 2,   M the largest norm of a pattern,

which lies in [0, 2 M^2] where xi is no longer than M, and is high for a query far from all that is
stored. The authors' layers hold no energy; ours follows the paper.

Only the neighbours are stored patterns here. What the other items of the collection would have
taken of the softmax is bounded by the last neighbour's score, and said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds, Neighbours, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fields import value_at
from kokeshi_plugins.retrievers.fitted import Fitted, labelled, thinned
from kokeshi_plugins.retrievers.limits import BETA, PAIRED_ITEMS

PAPER: Final = Paper(
    title="Hopfield Networks is All You Need",
    authors="Ramsauer, Schaefl, Lehner, Seidl, Widrich, Adler, Gruber, Holzleitner, Pavlovic, "
    "Sandve, Greiff, Kreil, Kopp, Klambauer, Brandstetter, Hochreiter",
    year=2021,
    url="https://arxiv.org/abs/2008.02217",
)
LARGEST_EXPONENT: Final = 700.0  # of a float64; what is beyond it leaves no mass to the others
MOST_UPDATES: Final = 1_000
BETAS: Final = tuple(2.0**power for power in range(11))  # 1 averages, 1024 is nearly the nearest

UNFITTED_BETA: Final = 32.0  # a neighbour 0.1 of cosine behind the first weighs 1/25 of it


class Temperature(Fitted):
    """The inverse temperature under which neighbours' votes are the most honest probabilities."""

    beta: float
    log_loss: float  # mean over the sample, natural logarithm; each item left out of its own vote
    count: int


@dataclass(frozen=True, eq=False)
class Retrieved:
    """`pattern` (dim,) float64, `weights` (k,) float64 of sum 1, `energy` of the query itself."""

    pattern: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    energy: float
    updates: int


def retrieve(
    patterns: npt.NDArray[Any],
    query: npt.NDArray[Any],
    beta: float,
    updates: int = 1,
    tolerance: float = 1e-6,
) -> Retrieved:
    """Updates a query until it rests, at most `updates` times.

    Args:
        patterns: (k, dim).
        query: (dim,).
        beta: above 0.
        updates: at least 1.
        tolerance: the state rests where it moves by no more than this, relative to its length.
    """
    stored, state = np.asarray(patterns, np.float64), np.asarray(query, np.float64)
    energy, weights = energy_of(stored, state, beta), np.empty(0)
    done, is_at_rest = 0, False
    while done < updates and not is_at_rest:
        weights = _softmax(beta * (stored @ state))
        moved = weights @ stored
        is_at_rest = bool(np.linalg.norm(moved - state) <= tolerance * np.linalg.norm(moved))
        state, done = moved, done + 1
    return Retrieved(state, weights, energy, done)


def energy_of(
    patterns: npt.NDArray[np.float64], state: npt.NDArray[np.float64], beta: float
) -> float:
    """E of the paper; see above."""
    scaled = beta * (patterns @ state)
    peak = float(scaled.max())
    lse = (peak + float(np.log(np.exp(scaled - peak).sum()))) / beta
    longest = float((patterns**2).sum(axis=1).max())
    return -lse + float(state @ state) / 2 + float(np.log(len(patterns))) / beta + longest / 2


def missing_mass(scores: npt.NDArray[np.float64], beta: float, count: int) -> float:
    """The most that items beyond the k neighbours could hold of the softmax over `count` items.

    Args:
        scores: (k,) inner products of the query and the neighbours, the last one the lowest.
        beta: inverse temperature.
        count: items of the collection.
    """
    others = max(count - len(scores), 0)
    inside = np.exp(np.minimum(beta * (scores - scores[-1]), LARGEST_EXPONENT)).sum()
    return float(others / (inside + others))


def answer(
    neighbours: Neighbours, settings: Mapping[str, Any], model: Temperature | None
) -> dict[str, Any]:
    """Soft retrieval.

    Returns:
        `pattern` (list), `weights` (list, by neighbour), `energy`, `updates`, `beta`, `labels`
        (share of the weight by the metadata field `label_field`), and `missing_mass_at_most`: see
        `missing_mass`; None where the size of the collection is not known.

    Raises:
        InvalidRequestError: there are no neighbours, or their vectors are not given.
    """
    if neighbours.vectors is None or neighbours.query is None or not neighbours.ids:
        raise InvalidRequestError("expected at least one neighbour, with vectors and the query")
    beta = settings["beta"] or (model.beta if model else UNFITTED_BETA)
    found = retrieve(neighbours.vectors, neighbours.query, beta, settings["updates"])
    products = np.sort(neighbours.vectors.astype(np.float64) @ neighbours.query)[::-1]
    missing = missing_mass(products, beta, neighbours.count) if neighbours.count else None
    return {
        "pattern": found.pattern.tolist(),
        "weights": found.weights.tolist(),
        "energy": found.energy,
        "updates": found.updates,
        "beta": beta,
        "labels": _votes(neighbours, found.weights, settings["label_field"]),
        "missing_mass_at_most": missing,
    }


def fit(sample: Sample, settings: Mapping[str, Any]) -> Temperature:
    """Chooses beta by the log loss of the votes, each item left out of its own.

    Raises:
        InvalidRequestError: fewer than two labels, or none that two items share.
    """
    sample = thinned(sample, settings["most_items"])
    vectors, classes, _ = labelled(sample)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    same = classes[:, None] == classes
    np.fill_diagonal(same, False)
    if not same.any():
        raise InvalidRequestError("expected a label that two items share")
    asked = same.any(axis=1)
    losses = [_log_loss(similarities[asked], same[asked], beta) for beta in BETAS]
    best = int(np.argmin(losses))
    return Temperature(
        beta=BETAS[best], log_loss=losses[best], count=int(asked.sum()), space=sample.space
    )


def _softmax(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _log_loss(
    similarities: npt.NDArray[np.float64], same: npt.NDArray[np.bool_], beta: float
) -> float:
    go_on()
    right = np.where(same, _softmax(beta * similarities), 0).sum(axis=1)
    return float(-np.log(np.maximum(right, 1e-6)).mean())  # one outlier does not choose alone


def _votes(
    neighbours: Neighbours, weights: npt.NDArray[np.float64], field: str
) -> dict[str, float]:
    votes: dict[str, float] = {}
    for metadata, weight in zip(neighbours.metadata, weights, strict=True):
        if (value := value_at(metadata, field)) is not None:
            label = str(value)
            votes[label] = votes.get(label, 0.0) + float(weight)
    return votes


def check(settings: Mapping[str, Any]) -> None:
    """Refuses a beta that is neither 0 nor a number to divide by.

    Raises:
        InvalidRequestError: it is one.
    """
    if settings["beta"] and not BETA.holds(settings["beta"]):
        raise InvalidRequestError(
            f"setting 'beta' of 'hopfield' is 0, or {BETA}, got {settings['beta']!r}"
        )


def figures(model: Temperature) -> dict[str, Any]:
    """`beta`, its `log_loss` with each item left out, and the `items` that it is a mean over."""
    return {"beta": model.beta, "log_loss": model.log_loss, "items": model.count}


HOPFIELD: Final = Retriever(
    name="hopfield",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    fit=fit,
    figures=figures,
    model=Temperature,
    reads=frozenset({"vectors", "query"}),
    defaults={
        "beta": 0.0,  # 0: the fitted one, else 32
        "updates": 1,
        "label_field": "label",
        "most_items": 4000,  # of a fit; its time and memory grow with the square
    },
    bounds={
        "beta": Bounds(0, BETA.most),
        "updates": Bounds(1, MOST_UPDATES),
        "most_items": PAIRED_ITEMS,
    },
    check=check,
    rows=(452,),
    summary="Soft retrieval over the neighbours: pattern, weights, votes and an energy.",
)
