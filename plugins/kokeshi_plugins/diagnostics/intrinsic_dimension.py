"""Intrinsic dimension of the items, and the prefix length that it suggests.

Two estimates that look at different things: TwoNN reads the ratio of the two smallest distances,
Levina and Bickel's likelihood reads k of them. Figures:

- `two_nn_dimension`: the mu_i = r2 / r1 of N items are Pareto with the dimension as exponent, so
  -log(1 - F(mu)) = d log mu; d is the slope through the origin with the largest tenth discarded
  (E. Facco et al., Estimating the intrinsic dimension of datasets by a minimal neighborhood
  information, Scientific Reports 2017).
- `mle_dimension`: 1 / mean over the items of 1/(k-1) sum_j log(T_k / T_j) (E. Levina, P. Bickel,
  Maximum Likelihood Estimation of Intrinsic Dimension, 2004), inverses averaged as D. MacKay and Z.
  Ghahramani corrected it in 2005.
- `suggested_prefix_dimensions`: the shortest trained length of at least 2d + 1. A generic linear
  map of a d-dimensional manifold to 2d + 1 dimensions merges no two points (H. Whitney, 1936). It
  promises that a prefix can tell the items apart, not that it orders neighbours as the full vector
  does: `prefixes` measures that.

Both are biased low where d is above about 20 and the items are few: n items cannot show more
than about 2 log10 n dimensions (J.-P. Eckmann, D. Ruelle, 1992). Copies of an item (distance 0) are
left out, and counted.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import GROUPS, split_interval
from kokeshi_plugins.diagnostics.limits import ITEMS, MOST_NEIGHBOURS, reads_enough
from kokeshi_plugins.diagnostics.neighbours import nearest
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    Rows,
    check_items,
    cut,
    draw_rows,
    drawn_advice,
    generator,
)

LEAST_NEIGHBOURS: Final = 2  # of one, the ratio to itself says nothing
DISCARDED: Final = 0.1  # share of the largest ratios, which are far from the manifold's own scale
_LEAST_PART: Final = 4  # a scale curve ends where fewer times k items remain


def two_nn(distances: Doubles) -> float:
    """TwoNN's dimension.

    Args:
        distances: (n, >= 2), ascending, the first above 0.
    """
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = ratios[: int(len(ratios) * (1 - DISCARDED))]
    heights = -np.log1p(-np.arange(1, len(kept) + 1) / len(ratios))
    return float(kept @ heights / (kept @ kept))


def levina_bickel(distances: Doubles) -> float:
    """Dimension of greatest likelihood from k distances (n, k), ascending, the first above 0."""
    k = distances.shape[1]
    inverses = np.log(distances[:, -1:] / distances[:, :-1]).sum(axis=1) / (k - 1)
    return float(1 / inverses.mean())


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Both dimensions, that of every trained prefix, and the prefix to try."""
    k, random = settings["neighbours"], generator(sample)
    check_items(sample, _least(k))
    rows = draw_rows(len(sample.vectors), settings["most_items"], random)
    vectors = np.unique(sample.vectors[rows], axis=0)
    if len(vectors) < _least(k):
        raise InvalidRequestError(
            f"expected at least {_least(k)} different items, got {len(vectors)}"
        )
    distances = _distances(vectors, k)
    found = {"two_nn_dimension": two_nn(distances), "mle_dimension": levina_bickel(distances)}
    every = np.arange(len(vectors))
    estimates = {"two_nn_dimension": two_nn, "mle_dimension": levina_bickel}
    intervals = {
        name: split_interval(found[name], partial(_estimated, estimate, vectors, k), every, random)
        for name, estimate in estimates.items()
    }
    wanted = 2 * intervals["mle_dimension"][1] + 1
    fitting = [length for length in sample.trained if length >= wanted]
    suggested = fitting[0] if fitting else sample.trained[-1]
    return Findings(
        figures={
            **found,
            "suggested_prefix_dimensions": float(suggested),
            "items": float(len(sample.vectors)),
            "items_read": float(len(rows)),
            "copies": float(len(rows) - len(vectors)),
        },
        intervals=intervals,
        curves=(*_by_prefix(vectors, sample.trained, k), *_by_scale(vectors, k, random)),
        advice=(
            *drawn_advice(len(rows), len(sample.vectors), sample.seed),
            _sentence(found["mle_dimension"], wanted, suggested, bool(fitting)),
        ),
    )


def _least(neighbours: int) -> int:
    """Items, of which each tenth is measured by itself."""
    return GROUPS * (neighbours + 2)


def _estimated(estimate: Callable[[Doubles], float], vectors: Floats, k: int, part: Rows) -> float:
    return estimate(_distances(vectors[part], k))


def _distances(vectors: Floats, k: int) -> Doubles:
    """(n, k), without items that float64 cannot tell from their neighbour."""
    distances, _ = nearest(vectors, vectors, k, own=np.arange(len(vectors)))
    return distances[distances[:, 0] > 0]


def _sentence(dimension: float, wanted: float, suggested: int, fits: bool) -> str:
    start = f"The items fill about {dimension:.1f} dimensions"
    if fits:
        return (
            f"{start}; {wanted:.0f} are enough to keep them apart: "
            f"try the prefix of {suggested}, and see its self-recall."
        )
    return f"{start}; no trained length reaches the {wanted:.0f} that keep them apart for certain."


def _by_prefix(vectors: Floats, trained: tuple[int, ...], k: int) -> tuple[Curve, ...]:
    if len(trained) == 1:
        return ()
    values = [levina_bickel(_distances(cut(vectors, length), k)) for length in trained]
    return (
        Curve(
            title="intrinsic dimension of each prefix",
            x_label="prefix length (dimensions)",
            y_label="intrinsic dimension",
            x=np.array(trained, np.float64),
            y=np.array(values),
        ),
    )


def _by_scale(vectors: Floats, k: int, random: np.random.Generator) -> tuple[Curve, ...]:
    """TwoNN of ever thinner draws: flat where the dimension is real, falling where noise is."""
    counts, values, left = [], [], random.permutation(len(vectors))
    while len(left) >= _LEAST_PART * k:
        counts.append(len(left))
        values.append(two_nn(_distances(vectors[left], 2)))
        left = left[: len(left) // 2]
    return (
        Curve(
            title="TwoNN dimension at each scale",
            x_label="items kept (fewer: a coarser scale)",
            y_label="intrinsic dimension",
            x=np.array(counts[::-1], np.float64),
            y=np.array(values[::-1]),
        ),
    )


PLUGIN: Final = Diagnostic(
    name="intrinsic_dimension",
    paper=Paper(
        title="The Effect of Intrinsic Dataset Properties on Generalization: Unraveling Learning "
        "Differences Between Natural and Medical Images",
        authors="N. Konz, M. A. Mazurowski",
        year=2024,
        url="https://arxiv.org/abs/2401.08865",
    ),
    licence="Apache-2.0",
    measure=measure,
    defaults={"neighbours": 20, "most_items": 5_000},
    bounds={"neighbours": Bounds(LEAST_NEIGHBOURS, MOST_NEIGHBOURS), "most_items": ITEMS},
    check=lambda settings: reads_enough(settings, "most_items", _least(settings["neighbours"])),
    rows=(339,),
    summary="how many dimensions the items fill, and the prefix length that suggests",
)
