"""k-nearest-neighbour classification, with the right to abstain.

Nearest Neighbor Pattern Classification (Cover, Hart; 1967), https://doi.org/10.1109/TIT.1967.1053964;
votes by distance: Dudani (1976); votes by exp(similarity / T): Wu, Xiong, Yu, Lin (CVPR 2018),
https://arxiv.org/abs/1805.01978.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Neighbours, Paper, Retriever
from kokeshi_plugins.retrievers.fields import value_at
from kokeshi_plugins.retrievers.limits import VOTERS

PAPER: Final = Paper(
    title="Nearest Neighbor Pattern Classification",
    authors="Cover, Hart",
    year=1967,
    url="https://doi.org/10.1109/TIT.1967.1053964",
)
TEMPERATURES: Final = Bounds(1e-6, 1e6)
LARGEST_SCORE: Final = float(np.finfo(np.float32).max)
WEIGHTS: Final = ("uniform", "distance", "kernel")


def answer(
    neighbours: Neighbours, settings: Mapping[str, Any], model: None = None
) -> dict[str, Any]:
    """The label that the neighbours vote for; those without the field do not vote.

    Returns:
        `label`, None where it abstains; `share` of the vote that it has; `shares` of all labels,
        the largest first, equal ones by name; `voters`, how many voted; `abstained`, why, or "".

    Raises:
        InvalidRequestError: a setting is out of range.
    """
    del model
    values = [value_at(metadata, settings["field"]) for metadata in neighbours.metadata]
    rows = [row for row, value in enumerate(values) if value is not None][: settings["voters"]]
    labels = [str(values[row]) for row in rows]
    weights = _weights(neighbours.scores[rows], neighbours.higher_is_better, settings)
    votes: dict[str, float] = {}
    for label, weight in zip(labels, weights, strict=True):
        votes[label] = votes.get(label, 0.0) + float(weight)
    ranked = dict(sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])))
    first, share = next(iter(ranked.items()), (None, 0.0))
    reason = _abstains(neighbours, rows, share, settings)
    return {
        "label": None if reason else first,
        "share": share,
        "shares": ranked,
        "voters": len(rows),
        "abstained": reason,
    }


def _weights(
    scores: npt.NDArray[np.float32], higher_is_better: bool, settings: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """Weights (k,) of sum 1."""
    kind, temperature = settings["weights"], settings["temperature"]
    if kind not in WEIGHTS or temperature <= 0:
        expected = ", ".join(map(repr, WEIGHTS))
        raise InvalidRequestError(
            f"expected weights out of {expected} and a temperature above 0, got {kind!r} and "
            f"{temperature!r}"
        )
    wide = scores.astype(np.float64)
    if kind == "uniform" or not len(wide):
        raw = np.ones_like(wide)
    elif kind == "kernel":
        nearness = wide if higher_is_better else -wide
        raw = np.exp((nearness - nearness.max()) / temperature)
    else:
        # The Euclidean distance of unit vectors, where scores are their cosines.
        distances = np.sqrt(np.maximum(2 - 2 * wide, 0)) if higher_is_better else wide
        is_same = distances == 0
        raw = is_same.astype(float) if is_same.any() else 1 / np.maximum(distances, 1e-300)
    return raw / max(raw.sum(), np.finfo(float).tiny)


def _abstains(
    neighbours: Neighbours, rows: list[int], share: float, settings: Mapping[str, Any]
) -> str:
    """Why there is no label, or ""."""
    if not rows:
        return f"no neighbour has the field {settings['field']!r}"
    nearest, limit = float(neighbours.scores[rows[0]]), settings["score_limit"]
    is_far = nearest < limit if neighbours.higher_is_better else nearest > limit
    if settings["has_score_limit"] and is_far:
        return f"the nearest scores {nearest:.4g}, the limit is {limit:.4g}"
    if share < settings["least_share"]:
        return f"the first label has a share of {share:.4g}, the least is {settings['least_share']}"
    return ""


VOTE: Final = Retriever(
    name="neighbour_vote",
    paper=PAPER,
    licence="Apache-2.0",
    answer=answer,
    defaults={
        "field": "label",
        "voters": 20,
        "weights": "kernel",
        "temperature": 0.07,  # Wu et al.
        "least_share": 0.0,  # abstains below it
        "has_score_limit": False,
        "score_limit": 0.0,  # abstains where the nearest is beyond it
    },
    bounds={
        "voters": VOTERS,
        "temperature": TEMPERATURES,
        "least_share": SHARE,
        "score_limit": Bounds(-LARGEST_SCORE, LARGEST_SCORE),
    },
    summary="k nearest neighbours vote for a label, evenly, by distance or by a kernel.",
)
