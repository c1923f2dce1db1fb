"""Neural-collapse geometry of labelled items: how close their classes are to a simplex.

With h an item, mu_c the mean of its class c of C classes, mu the mean of class means, and
m_c = mu_c - mu:

- `nc1_variability` = tr(S_W pinv(S_B)) / C, S_W the mean of (h - mu_c)(h - mu_c)^T over items, S_B
  that of m_c m_c^T over classes; 0 is collapsed (V. Papyan et al., Prevalence of neural collapse
  during the terminal phase of deep learning training, 2020).
- `nc1_cdnv` = mean over pairs of classes of (var_c + var_c') / (2 |mu_c - mu_c'|^2), var_c the
  mean squared distance to mu_c (T. Galanti et al., On the Role of Neural Collapse in Transfer
  Learning, 2021).
- `nc2_norm_variation` = standard deviation / mean of the |m_c|; `nc2_etf_deviation` = mean over
  pairs of |cos(m_c, m_c') + 1/(C - 1)|; 0 and 0 are the simplex of equal angles. Also the mean
  angle `nc2_angle_degrees` beside the simplex's own `nc2_etf_angle_degrees`, and
  `nc2_log_distance` = mean over pairs of log(1 / |m_c/|m_c| - m_c'/|m_c'||), the hyperspherical
  uniformity of R. Wu and V. Papyan, Linguistic Collapse, 2024.
- `nc3_distance` = |W/|W| - M/|M|| in Frobenius norm and `nc3_cosine` = mean cos(w_c, m_c), for W
  the ridge classifier of the items: a collection holds no classifier of the model's. The more
  `ridge`, the nearer it is to the means by itself: compare at one value only.
- `nc4_agreement` = share of unseen items for which that classifier, fitted on the other half,
  says the class of the nearest mean; `nearest_centre_accuracy` = share that the nearest mean of
  the other half gets right.

Models trained with mixup deviate by design (Q. Fisher et al., Pushing Boundaries: Mixup's
Influence on Neural Collapse, 2024): read theirs against themselves only. With few items in each
class the noise of the means lowers nc1 and cdnv: the intervals (jackknife) do not hold that bias.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample, go_on
from kokeshi_plugins.diagnostics.intervals import jackknife_intervals, share_interval
from kokeshi_plugins.diagnostics.limits import ITEMS, check_cells
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    Rows,
    check_items,
    draw_rows,
    generator,
    labelled_advice,
)

LEAST_CLASSES: Final = 3  # two means are opposite whatever they are
MOST_CLASSES: Final = 2_000  # memory and time: every pair of them, eleven times
LEAST_RIDGE: Final = 1e-9  # below it float64 sees none
_RANK_TOLERANCE: Final = 1e-6  # of the largest singular value: below it the means span nothing
_GEOMETRY: Final = (
    "nc1_variability",
    "nc1_cdnv",
    "nc2_norm_variation",
    "nc2_etf_deviation",
    "nc2_angle_degrees",
    "nc2_log_distance",
)


@dataclass(frozen=True, eq=False)
class Classes:
    """Means of classes.

    Attributes:
        means: (C, dim) float64.
        variances: (C,) mean squared distance of an item to its class's mean.
        residuals: (n, dim) float64, items less the mean of their class.
        centred: (C, dim) means less their mean.
    """

    means: Doubles
    variances: Doubles
    residuals: Doubles
    centred: Doubles


def classes_of(vectors: Floats, codes: Rows) -> Classes:
    """Means and residuals; `codes` (n,) are 0 to C - 1, each with an item."""
    counts = np.bincount(codes)
    means = class_means(vectors, codes)
    residuals = vectors - means[codes]
    squares = np.bincount(codes, np.einsum("ij,ij->i", residuals, residuals))
    return Classes(means, squares / counts, residuals, means - means.mean(axis=0))


def class_means(vectors: Floats, codes: Rows) -> Doubles:
    """(C, dim) float64."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    sums = np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
    return sums / np.bincount(codes)[:, None]


def variability(classes: Classes) -> float:
    """NC1. The pseudo-inverse lives in the span of the means, so no dim x dim matrix is made."""
    _, values, spans = np.linalg.svd(classes.centred, full_matrices=False)
    kept = values > _RANK_TOLERANCE * values[0]
    within = np.square(classes.residuals @ spans[kept].T).mean(axis=0)
    # S_B = centred^T centred / C and NC1 divides by C: the two C cancel
    return float((within / np.square(values[kept])).sum())


def geometry(vectors: Floats, codes: Rows) -> Doubles:
    """The figures of _GEOMETRY, in that order."""
    classes = classes_of(vectors, codes)
    upper = np.triu_indices(len(classes.means), 1)
    norms = np.linalg.norm(classes.centred, axis=1)
    directions = classes.centred / norms[:, None]
    cosines = np.clip((directions @ directions.T)[upper], -1, 1)
    squares = np.square(classes.means).sum(axis=1)
    gaps = (squares[:, None] + squares - 2 * classes.means @ classes.means.T)[upper]
    spreads = (classes.variances[:, None] + classes.variances)[upper]
    return np.array(
        [
            variability(classes),
            (spreads / (2 * gaps)).mean(),
            norms.std() / norms.mean(),
            np.abs(cosines + 1 / (len(norms) - 1)).mean(),
            np.degrees(np.arccos(cosines)).mean(),
            # |a - b| of unit vectors from their cosine
            -np.log(np.sqrt(2 - 2 * cosines)).mean(),
        ]
    )


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear classifier: scores of h are (h - centre) @ weights.T + bias."""

    centre: Doubles
    weights: Doubles
    bias: Doubles

    def scores(self, vectors: Floats) -> Doubles:
        """(n, C)."""
        return (vectors - self.centre) @ self.weights.T + self.bias


def fit_ridge(vectors: Floats, codes: Rows, ridge: float) -> Ridge:
    """Least squares on one-hot labels; `ridge` is a share of the mean variance of a dimension."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    spread = vectors - centre
    wanted = np.eye(codes.max() + 1)[codes]
    gram = spread.T @ spread
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    share = wanted.mean(axis=0)
    return Ridge(centre, np.linalg.solve(gram, spread.T @ (wanted - share)).T, share)


def duality(weights: Doubles, centred: Doubles) -> tuple[float, float]:
    """NC3: distance and mean cosine between (C, dim) classifier rows and centred means."""
    apart = np.linalg.norm(weights / np.linalg.norm(weights) - centred / np.linalg.norm(centred))
    lengths = np.linalg.norm(weights, axis=1) * np.linalg.norm(centred, axis=1)
    cosines = np.einsum("ij,ij->i", weights, centred) / lengths
    return float(apart), float(cosines.mean())


def nearest_mean(vectors: Floats, means: Doubles) -> Rows:
    """Class of the nearest mean, (n,)."""
    squares = np.square(means).sum(axis=1) - 2 * vectors @ means.T
    return np.asarray(squares.argmin(axis=1))


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """NC1 to NC4 of the labelled items."""
    random = generator(sample)
    check_items(sample, LEAST_CLASSES)
    rows, codes, names = labelled_rows(sample, settings, random)
    vectors = sample.vectors[rows]
    found = geometry(vectors, codes)
    every = np.arange(len(rows))
    ranges = jackknife_intervals(
        found, lambda kept: _geometry_of(vectors[kept], codes[kept]), every, random
    )
    go_on()
    agreement, right = _unseen(vectors, codes, settings["ridge"], random)
    model = fit_ridge(vectors, codes, settings["ridge"])
    classes = classes_of(vectors, codes)
    apart, cosine = duality(model.weights, classes.centred)
    etf = float(np.degrees(np.arccos(-1 / (len(names) - 1))))
    figures = dict(zip(_GEOMETRY, found.tolist(), strict=True)) | {
        "nc2_etf_angle_degrees": etf,
        "nc3_distance": apart,
        "nc3_cosine": cosine,
        "nc4_agreement": float(agreement.mean()),
        "nearest_centre_accuracy": float(right.mean()),
        "classes": float(len(names)),
        "items_read": float(len(rows)),
    }
    return Findings(
        figures=figures,
        intervals=dict(zip(_GEOMETRY, ranges, strict=True))
        | {
            "nc4_agreement": share_interval(int(agreement.sum()), len(agreement)),
            "nearest_centre_accuracy": share_interval(int(right.sum()), len(right)),
        },
        curves=_curves(classes),
        advice=(
            *labelled_advice(sample, settings["most_items"]),
            *_left_out(sample, names),
            _closest_pair(classes, names),
        ),
    )


def _geometry_of(vectors: Floats, codes: Rows) -> Doubles:
    """The same of some items, which a small class may have left; NaN where too few are there."""
    present, codes = np.unique(codes, return_inverse=True)
    if len(present) < LEAST_CLASSES:
        return np.full(len(_GEOMETRY), np.nan)
    return geometry(vectors, codes)


def _left_out(sample: Sample, names: list[str]) -> tuple[str, ...]:
    given = len(set(sample.labels) - {""})
    if len(names) == given:
        return ()
    return (f"{len(names):,} of {given:,} labels were read: the largest, with enough items.",)


def labelled_rows(
    sample: Sample, settings: Mapping[str, Any], random: np.random.Generator
) -> tuple[Rows, Rows, list[str]]:
    """Rows of the largest classes with enough items, their codes, and the names of the codes.

    Raises:
        InvalidRequestError: fewer than LEAST_CLASSES such classes.
    """
    labels = np.array(sample.labels)
    labelled = np.flatnonzero(labels != "")
    rows = labelled[draw_rows(len(labelled), settings["most_items"], random)]
    names, counts = np.unique(labels[rows], return_counts=True)
    order = np.argsort(-counts, kind="stable")[: settings["most_classes"]]
    kept = np.sort(order[counts[order] >= settings["least_class_items"]])
    if len(kept) < LEAST_CLASSES:
        raise InvalidRequestError(
            f"expected at least {LEAST_CLASSES} labels with {settings['least_class_items']} items "
            f"each, got {len(kept)}"
        )
    rows = rows[np.isin(labels[rows], names[kept])]
    check_cells(len(rows), len(kept), "items times labels")
    codes = np.searchsorted(names[kept], labels[rows])
    return rows, codes, [str(name) for name in names[kept]]


def _unseen(
    vectors: Floats, codes: Rows, ridge: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """NC4 by item: the classifier agrees with the nearest mean; the nearest mean is right."""
    fitted = np.zeros(len(codes), bool)
    for code in range(codes.max() + 1):
        members = random.permutation(np.flatnonzero(codes == code))
        fitted[members[: (len(members) + 1) // 2]] = True
    model = fit_ridge(vectors[fitted], codes[fitted], ridge)
    said = nearest_mean(vectors[~fitted], class_means(vectors[fitted], codes[fitted]))
    scores = model.scores(vectors[~fitted])
    return said == scores.argmax(axis=1), said == codes[~fitted]


def _closest_pair(classes: Classes, names: list[str]) -> str:
    squares = np.square(classes.means).sum(axis=1)
    gaps = squares[:, None] + squares - 2 * classes.means @ classes.means.T
    np.fill_diagonal(gaps, np.inf)
    ratio = (classes.variances[:, None] + classes.variances) / (2 * gaps)
    one, other = np.unravel_index(ratio.argmax(), ratio.shape)
    return (
        f"The two labels that overlap most are {names[one]!r} and {names[other]!r}: "
        f"their variance is {ratio[one, other]:.2f} of the squared distance of their means."
    )


def _curves(classes: Classes) -> tuple[Curve, ...]:
    directions = classes.centred / np.linalg.norm(classes.centred, axis=1, keepdims=True)
    upper = np.triu_indices(len(directions), 1)
    angles = np.degrees(np.arccos(np.clip((directions @ directions.T)[upper], -1, 1)))
    counts, edges = np.histogram(angles, 36, (0, 180))
    return (
        Curve(
            title=f"angles between class means (simplex: "
            f"{np.degrees(np.arccos(-1 / (len(directions) - 1))):.1f} degrees)",
            x_label="angle (degrees)",
            y_label="pairs of classes",
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts.astype(np.float64),
            kind="bars",
        ),
    )


PLUGIN: Final = Diagnostic(
    name="class_geometry",
    paper=Paper(
        title="Linguistic Collapse: Neural Collapse in (Large) Language Models",
        authors="R. Wu, V. Papyan",
        year=2024,
        url="https://arxiv.org/abs/2405.17767",
    ),
    licence="Apache-2.0",
    measure=measure,
    needs=frozenset({"labels"}),
    defaults={
        "most_items": 20_000,
        "most_classes": 1_000,
        "least_class_items": 5,
        "ridge": 1e-3,
    },
    bounds={
        "most_items": ITEMS,
        "most_classes": Bounds(LEAST_CLASSES, MOST_CLASSES),
        "least_class_items": Bounds(2, ITEMS.most),  # one fits, another is asked about
        "ridge": Bounds(LEAST_RIDGE, 1e3),
    },
    rows=(360, 441),
    summary="NC1 to NC4: how tight the classes are, and how evenly apart",
)
