"""OPIS: how much the classes disagree about one threshold.

Threshold-Consistent Margin Loss for Open-World Deep Metric Learning (Zhang, Xu, Tang et al.;
ICLR 2024), https://arxiv.org/abs/2307.04047.

For a class i and a threshold d, sensitivity is the share of pairs inside the class that score at
least d, specificity the share of pairs with one half in the class that score below d, and

    U_i(d) = (1 + c^2) specificity sensitivity / (c^2 specificity + sensitivity)

their F-score, with c = 1. Over thresholds between d_min and d_max, evenly spaced,

    OPIS     = mean over d and i of (U_i(d) - mean_j U_j(d))^2
    eps-OPIS = mean over d of (mean U of the best share eps - mean U of the worst share eps)^2

No code of the authors was found. The paper leaves the interval to the user, and these are readings
of it: d_min and d_max are the thresholds of two false-match rates over all pairs; classes are
ordered by their mean utility over the interval; a class of one item has no pair, and is left out.
Compare values only where the interval, which is kept with them, is the same.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import go_on
from kokeshi_plugins.retrievers.fitted import Record, unit

THRESHOLDS: Final = 101


class Consistency(Record):
    """OPIS and what it was taken over; `worst` names the classes of the worst share."""

    opis: float
    epsilon_opis: float
    epsilon: float
    lowest: float  # threshold, as a similarity
    highest: float
    classes: int
    worst: tuple[str, ...]


def consistency(
    vectors: npt.NDArray[np.float64],
    classes: npt.NDArray[np.int64],
    names: tuple[str, ...],
    false_match_rates: tuple[float, float] = (0.1, 0.01),
    epsilon: float = 0.1,
) -> Consistency:
    """OPIS and eps-OPIS of labelled items.

    Args:
        vectors: (n, dim); normalised here.
        classes: (n,), numbers of the classes.
        names: of the classes.
        false_match_rates: over all different pairs, at the lowest and the highest threshold.
        epsilon: share of the classes that is best, and worst; at least one class each.

    Raises:
        InvalidRequestError: fewer than two classes have two items.
    """
    similarities = unit(vectors) @ unit(vectors).T
    same = classes[:, None] == classes
    different = similarities[~same]
    lowest, highest = (float(np.quantile(different, 1 - rate)) for rate in false_match_rates)
    kept = np.flatnonzero(np.bincount(classes, minlength=len(names)) > 1)
    if len(kept) < 2:  # noqa: PLR2004 - to compare them
        raise InvalidRequestError(
            f"expected at least two labels that two items share, got {len(kept)}"
        )
    thresholds = np.linspace(lowest, highest, THRESHOLDS)
    np.fill_diagonal(similarities, np.nan)
    rows = [similarities[classes == number] for number in kept]
    utility = np.stack(
        [
            _utility(row, classes == number, thresholds)
            for row, number in zip(rows, kept, strict=True)
        ]
    )
    return _summary(utility, [names[number] for number in kept], epsilon, (lowest, highest))


def _utility(
    similarities: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
    thresholds: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """U (thresholds,) of one class from its rows (members, n), NaN on the diagonal.

    An inner pair is there twice, which changes no share.
    """
    go_on()
    within = similarities[:, inside]
    alike = np.sort(within[~np.isnan(within)])
    others = np.sort(similarities[:, ~inside], axis=None)
    sensitivity = 1 - np.searchsorted(alike, thresholds, "left") / len(alike)
    specificity = np.searchsorted(others, thresholds, "left") / len(others)
    total = sensitivity + specificity
    return np.divide(
        2 * sensitivity * specificity, total, out=np.zeros_like(total), where=total > 0
    )


def _summary(
    utility: npt.NDArray[np.float64],
    names: list[str],
    epsilon: float,
    interval: tuple[float, float],
) -> Consistency:
    order = np.argsort(utility.mean(axis=1), kind="stable")
    tail = max(1, round(epsilon * len(names)))
    gap = utility[order[-tail:]].mean(axis=0) - utility[order[:tail]].mean(axis=0)
    return Consistency(
        opis=float(((utility - utility.mean(axis=0)) ** 2).mean()),
        epsilon_opis=float((gap**2).mean()),
        epsilon=epsilon,
        lowest=interval[0],
        highest=interval[1],
        classes=len(names),
        worst=tuple(names[number] for number in order[:tail]),
    )
