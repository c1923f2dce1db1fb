"""Uniformity, alignment and tolerance: how the items use the sphere. Vectors are made unit first.

- `uniformity_nats` = log mean over pairs of exp(-2 |x - y|^2); lower is more spread (T. Wang, P.
  Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
  Hypersphere, 2020, t = 2).
- `best_uniformity_nats`: the same of the uniform distribution on this sphere, the least there is:
  -4 + log 0F1(; dim / 2; 4), by the integral of exp(4 x.y) over it.
- `alignment_squared_distance` = mean over pairs of one label of |x - y|^2 (alpha = 2). The paper's
  positive pairs are two views of one image; a collection knows labels.
- `tolerance_cosine` = mean over pairs of one label of x.y; `tolerance_joint` = mean over all pairs
  of x.y where the labels agree and 0 elsewhere, the paper's own formula, which depends on how many
  classes there are (F. Wang, H. Liu, Understanding the Behaviour of Contrastive Loss, 2021, 3.3).
- `mean_direction` = norm of the mean vector: 0 is balanced, 1 is one point.

The three over pairs of one label are exact sums of the items read. The error of uniformity is that
of a U-statistic (W. Hoeffding, 1948): 4 Var(mean of an item's terms) / n, through the logarithm.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import normal_interval
from kokeshi_plugins.diagnostics.limits import MOST_ITEMS
from kokeshi_plugins.diagnostics.neighbours import squared_distances
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    Rows,
    check_items,
    draw_rows,
    drawn_advice,
    generator,
    unit,
)

LEAST: Final = 3  # items
TEMPERATURE: Final = 2.0
_BINS: Final = 50
_NARROW: Final = 0.5  # norm of the mean direction from which items crowd one side
_SMALLEST_TERM: Final = 1e-17  # of a series that begins with 1


def best_uniformity(dim: int) -> float:
    """Uniformity of the uniform distribution on the unit sphere of `dim` dimensions, in nats."""
    total, term, k = 1.0, 1.0, 0
    while term > _SMALLEST_TERM * total:
        term *= TEMPERATURE**2 / ((dim / 2 + k) * (k + 1))
        total += term
        k += 1
    return float(np.log(total) - 2 * TEMPERATURE)


def pair_terms(vectors: Floats) -> tuple[Doubles, Rows]:
    """Of each item the mean of exp(-2 |x - y|^2) over the others, and a histogram of cosines.

    Args:
        vectors: (n, dim) unit norm.

    Returns:
        (n,) float64, and counts (_BINS,) over [-1, 1], each pair counted twice.
    """
    means = np.empty(len(vectors))
    counts = np.zeros(_BINS, np.int64)
    for block, squares in squared_distances(vectors, vectors):
        own = np.arange(block.start, block.stop)
        cosines = 1 - squares / 2
        cosines[np.arange(len(own)), own] = 2  # outside of the histogram
        counts += np.histogram(np.clip(cosines, -1, 2), _BINS, (-1, 1))[0]
        terms = np.exp(-TEMPERATURE * np.maximum(squares, 0))
        terms[np.arange(len(own)), own] = 0
        means[block] = terms.sum(axis=1, dtype=np.float64) / (len(vectors) - 1)
    return means, counts


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Uniformity of the items; alignment and tolerance too where they have labels."""
    check_items(sample, LEAST)
    rows = draw_rows(len(sample.vectors), settings["most_items"], generator(sample))
    vectors = unit(sample.vectors[rows])
    means, counts = pair_terms(vectors)
    uniformity = float(np.log(means.mean()))
    error = 2 * means.std(ddof=1) / np.sqrt(len(means)) / means.mean()
    direction = float(np.linalg.norm(vectors.mean(axis=0, dtype=np.float64)))
    figures = {
        "uniformity_nats": uniformity,
        "best_uniformity_nats": best_uniformity(vectors.shape[1]),
        "mean_direction": direction,
        "items": float(len(sample.vectors)),
        "items_read": float(len(rows)),
    }
    labels = np.array(sample.labels)[rows] if sample.labels else np.empty(0, str)
    advice = [
        *drawn_advice(len(rows), len(sample.vectors), sample.seed),
        f"Uniformity is {uniformity:.2f} nats; the most spread items of this length have "
        f"{figures['best_uniformity_nats']:.2f}.",
    ]
    if direction > _NARROW:
        advice.append(
            f"The items crowd one side of the sphere (their mean has norm {direction:.2f}): "
            "centring them before a PCA rotation would spread them."
        )
    return Findings(
        figures=figures | (_same_label(vectors, labels) if len(labels) else {}),
        intervals={"uniformity_nats": normal_interval(uniformity, float(error))},
        curves=(_histogram(counts),),
        advice=tuple(advice),
    )


def _same_label(vectors: Floats, labels: npt.NDArray[np.str_]) -> dict[str, float]:
    """Sums over classes: of all pairs x.y = (|sum of x|^2 - sum of |x|^2) / 2."""
    cosines = pairs = 0.0
    for label in np.unique(labels[labels != ""]):
        members = vectors[labels == label].astype(np.float64)
        total = members.sum(axis=0)
        cosines += (total @ total - np.square(members).sum()) / 2
        pairs += len(members) * (len(members) - 1) / 2
    if not pairs:
        return {}
    tolerance = cosines / pairs
    labelled = int((labels != "").sum())
    return {
        "tolerance_cosine": tolerance,
        "tolerance_joint": cosines / (labelled * (labelled - 1) / 2),
        "alignment_squared_distance": 2 - 2 * tolerance,
    }


def _histogram(counts: Rows) -> Curve:
    edges = np.linspace(-1, 1, _BINS + 1)
    return Curve(
        title="cosines between items",
        x_label="cosine",
        y_label="share of pairs",
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts / max(1, counts.sum()),
        kind="bars",
    )


PLUGIN: Final = Diagnostic(
    name="uniformity",
    paper=Paper(
        title="Understanding the Behaviour of Contrastive Loss",
        authors="F. Wang, H. Liu",
        year=2021,
        url="https://arxiv.org/abs/2012.09740",
    ),
    licence="Apache-2.0",
    measure=measure,
    defaults={"most_items": 10_000},
    bounds={"most_items": Bounds(LEAST, MOST_ITEMS)},
    rows=(308,),
    summary="how evenly the items use the sphere, and how close items of one label lie",
)
