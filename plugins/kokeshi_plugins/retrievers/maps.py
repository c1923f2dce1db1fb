"""Maps between embedding spaces: search what an old model embedded with a new model's queries.

After the fact, from items that both models embedded: the orthogonal map of Schoenemann (1966),
https://doi.org/10.1007/BF02289451, and the affine one of ridge regression (Hoerl, Kennard; 1970).
They stand in for training a compatible model (BT^2 of Zhou et al., https://arxiv.org/abs/2211.03989;
`bt2`), which is better where it can be done.

A map is worth what it finds. Items are parted: one part fits, a second chooses among the maps, the
third measures: each of its items is a query of the new space, mapped, against all others of that
part in the old space, and is to find what its own old vector finds. Below a stated recall there is
no map.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fitted import Array, Fitted, Rate, bootstrap_mean, thinned, unit
from kokeshi_plugins.retrievers.limits import MOST_MAPPED_ITEMS, NEIGHBOURS
from kokeshi_plugins.retrievers.recall import recall_of

Floats = npt.NDArray[np.float64]
KINDS: Final = ("auto", "orthogonal", "affine")
RIDGES: Final = (1e-4, 1e-3, 1e-2, 1e-1)  # of the mean variance of an input dimension
PAPER: Final = Paper(
    title="BT^2: Backward-compatible Training with Basis Transformation",
    authors="Zhou, Li, Shrivastava, Zhao, Torralba, Tian, Lim",
    year=2023,
    url="https://arxiv.org/abs/2211.03989",
)


class Map(Fitted):
    """From `source_space` into `space`: unit(vectors) @ weights + offset, normalised again.

    Attributes:
        kind: "orthogonal" or "affine".
        ridge: of the affine map; 0 of the orthogonal one.
        weights: (source_dim, dim) float32.
        offset: (dim,) float32.
        source_space: fingerprint of the space that is mapped from.
        recall: of held-out queries against the other space's own answers, by prefix length.
        k: of that recall.
        fitted_on: items.
    """

    kind: str
    ridge: float
    weights: Array
    offset: Array
    source_space: str
    recall: Mapping[int, Rate]
    k: int
    fitted_on: int


def fit(sample: Sample, settings: Mapping[str, Any]) -> Map:
    """A map from the space of `sample.counterpart` (new) into that of `sample.vectors` (old).

    For the other direction, swap the two.

    Raises:
        InvalidRequestError: no counterpart, too few items, or a recall below `least_recall` at
            full length.
    """
    new, old = _checked(thinned(sample, settings["most_items"]), settings)
    parts = _parts(len(old), sample.seed)
    chosen, weights, offset = _best(new, old, parts, settings)
    mapped = unit(new[parts[2]] @ weights + offset)
    recall = {
        length: bootstrap_mean(recall_of(mapped, old[parts[2]], settings["k"], length), sample.seed)
        for length in sample.trained
    }
    full = recall[sample.trained[-1]]
    if full.value < settings["least_recall"]:
        raise InvalidRequestError(
            f"the {chosen[0]} map finds {full.value:.3f} [{full.low:.3f}, {full.high:.3f}] of the "
            f"{settings['k']} nearest of {full.count} held-out queries, and "
            f"{settings['least_recall']!r} is asked for"
        )
    return Map(
        kind=chosen[0],
        ridge=chosen[1],
        weights=weights.astype(np.float32),
        offset=offset.astype(np.float32),
        recall=recall,
        k=settings["k"],
        fitted_on=len(parts[0]),
        space=sample.space,
        source_space=sample.counterpart_space,
    )


def apply(vectors: npt.NDArray[np.float32], model: Map) -> npt.NDArray[np.float32]:
    """Maps (n, source_dim) float32 to unit vectors (n, dim) float32.

    Raises:
        DimensionError: the vectors are of another length.
    """
    if vectors.shape[-1] != len(model.weights):
        raise DimensionError(
            f"the map takes vectors of length {len(model.weights)}, got {vectors.shape[-1]}"
        )
    mapped = unit(vectors) @ model.weights.astype(np.float64) + model.offset
    return unit(mapped).astype(np.float32)


def orthogonal(new: Floats, old: Floats) -> Floats:
    """The matrix of orthonormal rows or columns that takes (n, a) nearest to (n, b)."""
    left, _, right = np.linalg.svd(new.T @ old, full_matrices=False)
    return left @ right


def affine(new: Floats, old: Floats, ridge: float) -> tuple[Floats, Floats]:
    """Weights (a, b) and offset (b,) of ridge regression; the offset is not held down."""
    new_mean, old_mean = new.mean(axis=0), old.mean(axis=0)
    centred = new - new_mean
    moments = centred.T @ centred
    penalty = ridge * np.trace(moments) / len(moments)
    weights = np.linalg.solve(
        moments + penalty * np.eye(len(moments)), centred.T @ (old - old_mean)
    )
    return weights, old_mean - new_mean @ weights


def _best(
    new: Floats,
    old: Floats,
    parts: tuple[npt.NDArray[np.int64], ...],
    settings: Mapping[str, Any],
) -> tuple[tuple[str, float], Floats, Floats]:
    """Kind and ridge, weights and offset of the map with the best recall on the second part."""
    fitting, choosing, _ = parts
    maps: dict[tuple[str, float], tuple[Floats, Floats]] = {}
    if settings["kind"] != "affine":
        maps["orthogonal", 0.0] = orthogonal(new[fitting], old[fitting]), np.zeros(old.shape[1])
    if settings["kind"] != "orthogonal":
        for ridge in RIDGES:
            go_on()
            maps["affine", ridge] = affine(new[fitting], old[fitting], ridge)
    recalls = {
        name: recall_of(
            new[choosing] @ weights + offset, old[choosing], settings["k"], old.shape[1]
        ).mean()
        for name, (weights, offset) in maps.items()
    }
    best = max(recalls, key=lambda name: recalls[name])
    return best, *maps[best]


def _parts(count: int, seed: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Rows that fit, choose and measure: 60, 15 and 25 %."""
    mixed = np.random.default_rng(seed).permutation(count)
    first, second = round(0.6 * count), round(0.75 * count)
    return mixed[:first], mixed[first:second], mixed[second:]


def _checked(sample: Sample, settings: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Unit vectors of both spaces."""
    if sample.counterpart is None or len(sample.counterpart) != len(sample.vectors):
        got = 0 if sample.counterpart is None else len(sample.counterpart)
        raise InvalidRequestError(
            f"expected {len(sample.vectors)} items in both spaces, got {got} in the other"
        )
    k, least = settings["k"], settings["least_recall"]
    if settings["kind"] not in KINDS or k < 1 or not 0 <= least <= 1:
        expected = ", ".join(map(repr, KINDS))
        raise InvalidRequestError(
            f"expected a kind out of {expected}, k of at least 1 and a recall in [0, 1], got "
            f"{settings['kind']!r}, {k!r} and {least!r}"
        )
    needed = int(np.ceil((k + 2) / 0.15))  # for k neighbours in the part that chooses
    if len(sample.vectors) < needed:
        raise InvalidRequestError(
            f"expected at least {needed} items in both spaces, got {len(sample.vectors)}"
        )
    return unit(sample.counterpart), unit(sample.vectors)


def figures(model: Map) -> dict[str, Any]:
    """`kind`, `ridge`, `k`, `fitted_on`, and held out the `recall` at every `dimension`."""
    told = model.model_dump(include={"kind", "ridge", "k", "fitted_on", "source_space"})
    recall = [{"dimension": at, **rate.model_dump()} for at, rate in model.recall.items()]
    return told | {"recall": recall}


MAPS: Final = Retriever(
    name="space_map",
    paper=PAPER,
    licence="Apache-2.0",
    fit=fit,
    figures=figures,
    apply=apply,
    model=Map,
    defaults={
        "kind": "auto",
        "k": 10,
        "least_recall": 0.8,
        "most_items": 20_000,  # of a fit; a quarter of them are compared with each other
    },
    bounds={
        "k": NEIGHBOURS,
        "least_recall": SHARE,
        "most_items": Bounds(1, MOST_MAPPED_ITEMS),
    },
    rows=(390,),
    summary="Orthogonal or affine map from a new model's space into an old one's, measured.",
)
