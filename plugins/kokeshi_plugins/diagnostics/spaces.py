"""Two spaces of the same items: what a swap of the embedding model would change.

With D and D' the Euclidean distances between some of the items in either space:

- `rsa_pearson` = Pearson's correlation of the entries of D and D' above the diagonal
  (representational similarity analysis: N. Kriegeskorte, M. Mur, P. Bandettini, 2008).
- `geo_topological_pearson` = the same after each matrix went through f(d) = 0 up to its quantile
  `lower_quantile`, 1 from its quantile `upper_quantile`, and linear between (B. Lin, N.
  Kriegeskorte, The Topology and Geometry of Neural Representations, 2024): what is left of near
  and far once noise among the nearest and the exact size of the farthest are ignored.
- `cka_linear` = |X'^T X|^2 / (|X^T X| |X'^T X'|) of centred rows, in Frobenius norm (S. Kornblith
  et al., Similarity of Neural Network Representations Revisited, 2019); 1 where one space is the
  other rotated and scaled. It reads high where items are few against dimensions.
- `cka_debiased` = the same of L. Song's unbiased HSIC (T. Nguyen, M. Raghu, S. Kornblith, 2021),
  about 0 for unrelated spaces whatever their size.
- `neighbour_overlap_at_10` = mean over items of the share of the 10 nearest that are so in both
  spaces: what users of search will notice (mutual nearest neighbours, M. Huh et al., The Platonic
  Representation Hypothesis, 2024). `chance_overlap` = k / (n - 1), what unrelated spaces have.

All are symmetric, and none needs spaces of one length. The first four are of at most
`most_compared` items, the overlap of at most `most_items`; a draw makes neighbourhoods wider, so
the overlap of a draw is that of a coarser search. Intervals are of a jackknife over items.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import GROUPS, Interval, jackknife_intervals, within
from kokeshi_plugins.diagnostics.limits import FLAGGED, ITEMS, NEIGHBOURS, reads_enough
from kokeshi_plugins.diagnostics.neighbours import nearest
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    Rows,
    check_finite,
    check_items,
    draw_rows,
    drawn_advice,
    generator,
    name_of,
)

_FIGURES: Final = ("rsa_pearson", "geo_topological_pearson", "cka_linear", "cka_debiased")
_LEAST_PER_GROUP: Final = 4  # unbiased HSIC divides by n (n - 3)
_CURVE_POINTS: Final = 2_000
LEAST_ITEMS: Final = GROUPS * _LEAST_PER_GROUP
MOST_COMPARED: Final = 3_000  # memory: a dozen matrices of all pairs, 72 MB each
BLOCK_BYTES: Final = 64 * 2**20  # of pairs of neighbours


def distance_matrix(vectors: Doubles) -> Doubles:
    """Euclid's distances (n, n) float64."""
    centred = vectors - vectors.mean(axis=0)
    squares = np.square(centred).sum(axis=1)
    gaps = squares[:, None] + squares - 2 * centred @ centred.T
    np.fill_diagonal(gaps, 0)
    return np.sqrt(np.maximum(gaps, 0))


def upper(matrix: Doubles) -> Doubles:
    """Entries above the diagonal, row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def geo_topological(entries: Doubles, lower_quantile: float, upper_quantile: float) -> Doubles:
    """Distances with the nearest made 0, the farthest 1, and the rest linear."""
    low, high = np.quantile(entries, [lower_quantile, upper_quantile])
    if high <= low:
        return (entries > low).astype(np.float64)
    return np.clip((entries - low) / (high - low), 0, 1)


def cka_linear(one: Doubles, other: Doubles) -> float:
    """Of (n, d) and (n, d'); by Gram matrices of the items."""
    centred = [rows - rows.mean(axis=0) for rows in (one, other)]
    grams = [rows @ rows.T for rows in centred]
    return _cosine(*grams)


def cka_debiased(one: Doubles, other: Doubles) -> float:
    """Likewise, with the unbiased HSIC."""
    return _cosine(*(_u_centred(rows @ rows.T) for rows in (one, other)))


def _u_centred(gram: Doubles) -> Doubles:
    """Centred so that inner products of two such matrices are unbiased (Szekely, Rizzo, 2014)."""
    count = len(gram)
    hollow = gram - np.diag(np.diag(gram))
    means = hollow.sum(axis=1) / (count - 2)
    centred = hollow - means[:, None] - means + hollow.sum() / ((count - 1) * (count - 2))
    np.fill_diagonal(centred, 0)
    return np.asarray(centred)


def _cosine(one: Doubles, other: Doubles) -> float:
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / norms) if norms else 0.0


def _pearson(one: Doubles, other: Doubles) -> float:
    return _cosine(one - one.mean(), other - other.mean())


def similarities(one: Doubles, other: Doubles, quantiles: tuple[float, float]) -> Doubles:
    """The figures of _FIGURES, in that order, of (n, d) and (n, d')."""
    entries = [upper(distance_matrix(rows)) for rows in (one, other)]
    return np.array(
        [
            _pearson(*entries),
            _pearson(*(geo_topological(part, *quantiles) for part in entries)),
            cka_linear(one, other),
            cka_debiased(one, other),
        ]
    )


def overlaps(one: Rows, other: Rows, k: int, kept: Rows) -> Doubles:
    """Share of the k nearest kept items that are so in both spaces.

    Args:
        one: (n, more than k) neighbours, nearest first.
        other: likewise in the other space.
        k: how many count.
        kept: (m,) rows that are still there.

    Returns:
        (m,) float64.
    """
    here = np.zeros(len(one), bool)
    here[kept] = True
    step = max(1, BLOCK_BYTES // (one.shape[1] * other.shape[1]))
    blocks = [kept[start : start + step] for start in range(0, len(kept), step)]
    return np.concatenate([_overlaps(one[rows], other[rows], k, here) for rows in blocks])


def _overlaps(one: Rows, other: Rows, k: int, here: npt.NDArray[np.bool_]) -> Doubles:
    first, second = (_first(lists, here, k) for lists in (one, other))
    same = one[:, :, None] == other[:, None, :]
    same &= first[:, :, None] & second[:, None, :]
    return np.asarray(same.sum(axis=(1, 2)) / k)


def _first(lists: Rows, here: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.bool_]:
    """Which of the neighbours are the k nearest of those that are still there."""
    present = here[lists]
    return np.asarray(present & (present.cumsum(axis=1) <= k))


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Compares the items' space with that of their counterparts."""
    k, random = settings["neighbours"], generator(sample)
    vectors, others = _both(sample, settings)
    rows = draw_rows(len(vectors), settings["most_items"], random)
    shared, spread = _shared(vectors[rows], others[rows], k, random)
    compared = rows[draw_rows(len(rows), settings["most_compared"], random)]
    one, other = vectors[compared].astype(np.float64), others[compared].astype(np.float64)
    quantiles = (float(settings["lower_quantile"]), float(settings["upper_quantile"]))
    found = similarities(one, other, quantiles)
    ranges = jackknife_intervals(
        found,
        lambda kept: similarities(one[kept], other[kept], quantiles),
        np.arange(len(compared)),
        random,
    )
    overlap = f"neighbour_overlap_at_{k}"
    return Findings(
        figures=dict(zip(_FIGURES, found.tolist(), strict=True))
        | {
            overlap: float(shared.mean()),
            "chance_overlap": k / (len(rows) - 1),
            "items": float(len(vectors)),
            "items_read": float(len(rows)),
            "items_compared": float(len(compared)),
        },
        intervals=dict(zip(_FIGURES, ranges, strict=True)) | {overlap: spread},
        curves=_curves(shared, one, other, k, random),
        flagged=_moved(sample, rows, shared, settings),
        advice=(
            *drawn_advice(len(rows), len(vectors), sample.seed),
            f"A swap would change {1 - shared.mean():.1%} of each item's {k} nearest; the "
            f"distances of the two spaces correlate at {found[0]:.2f}.",
        ),
    )


def _shared(
    vectors: Floats, others: Floats, k: int, random: np.random.Generator
) -> tuple[Doubles, Interval]:
    """Overlap of each item's neighbours (n,), and the interval of its mean."""
    every = np.arange(len(vectors))
    # deeper than k: a jackknife that leaves out a tenth still finds k in the list
    depth = min(2 * k, len(vectors) - 1)
    _, ours = nearest(vectors, vectors, depth, own=every)
    _, theirs = nearest(others, others, depth, own=every)
    shared = overlaps(ours, theirs, k, every)
    (spread,) = jackknife_intervals(
        shared.mean(keepdims=True),
        lambda kept: overlaps(ours, theirs, k, kept).mean(keepdims=True),
        every,
        random,
    )
    return shared, within(spread)


def _moved(
    sample: Sample, rows: Rows, shared: Doubles, settings: Mapping[str, Any]
) -> dict[str, str]:
    """The items that keep the fewest neighbours, fewest first."""
    k, mean = settings["neighbours"], shared.mean()
    return {
        name_of(sample, rows[i]): f"keeps {round(shared[i] * k)} of its {k} nearest"
        for i in np.argsort(shared, kind="stable")[: settings["most_flagged"]]
        if shared[i] < mean
    }


def _both(sample: Sample, settings: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Items in either space.

    Raises:
        InvalidRequestError: too few, or not the same number.
    """
    check_items(sample, max(LEAST_ITEMS, settings["neighbours"] + 2))
    others = sample.counterpart
    if others is None or len(others) != len(sample.vectors):
        got = 0 if others is None else len(others)
        raise InvalidRequestError(f"expected {len(sample.vectors)} counterparts, got {got}")
    check_finite(others, "counterparts")
    return sample.vectors, others


def check(settings: Mapping[str, Any]) -> None:
    """Refuses settings that do not fit each other.

    Raises:
        InvalidRequestError: quantiles out of order, or fewer items than neighbours.
    """
    if settings["lower_quantile"] >= settings["upper_quantile"]:
        raise InvalidRequestError(
            f"expected quantiles in order within [0, 1], got {settings['lower_quantile']!r} and "
            f"{settings['upper_quantile']!r}"
        )
    reads_enough(settings, "most_items", max(LEAST_ITEMS, settings["neighbours"] + 2))


def _curves(
    shared: Doubles, one: Doubles, other: Doubles, k: int, random: np.random.Generator
) -> tuple[Curve, ...]:
    counts = np.bincount(np.rint(shared * k).astype(np.int64), minlength=k + 1)
    pairs = [upper(distance_matrix(rows)) for rows in (one, other)]
    drawn = draw_rows(len(pairs[0]), _CURVE_POINTS, random)
    return (
        Curve(
            title=f"nearest {k} that both spaces share",
            x_label="neighbours kept",
            y_label="items",
            x=np.arange(k + 1, dtype=np.float64),
            y=counts.astype(np.float64),
            kind="bars",
        ),
        Curve(
            title="distances of random pairs of items",
            x_label="distance in the items' space",
            y_label="distance in the other space",
            x=pairs[0][drawn],
            y=pairs[1][drawn],
            kind="points",
        ),
    )


PLUGIN: Final = Diagnostic(
    name="spaces",
    paper=Paper(
        title="The Topology and Geometry of Neural Representations",
        authors="B. Lin, N. Kriegeskorte",
        year=2024,
        url="https://arxiv.org/abs/2309.11028",
    ),
    licence="Apache-2.0",
    measure=measure,
    needs=frozenset({"counterpart"}),
    defaults={
        "neighbours": 10,
        "lower_quantile": 0.05,
        "upper_quantile": 0.95,
        "most_items": 10_000,
        "most_compared": 1_000,
        "most_flagged": 100,
    },
    bounds={
        "neighbours": NEIGHBOURS,
        "lower_quantile": SHARE,
        "upper_quantile": SHARE,
        "most_items": ITEMS,
        "most_compared": Bounds(LEAST_ITEMS, MOST_COMPARED),
        "most_flagged": FLAGGED,
    },
    check=check,
    rows=(376,),
    summary="what a swap of the embedding model would change: distances and neighbours",
)
