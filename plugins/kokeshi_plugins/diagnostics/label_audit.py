"""Labels that an item's neighbours contradict: confident learning without a classifier.

The probability p(j | x) is the share of label j among the k nearest other items: out of sample,
because an item never votes for itself. Then, after C. Northcutt, L. Jiang, I. Chuang, Confident
Learning (2021), as the audit of Northcutt, Athalye and Mueller (2021) runs it:

1. threshold t_j = mean of p(j | x) over the items labelled j;
2. an item labelled i counts in C[i, j] where j is the label of the highest probability among those
   that reach their threshold (within a millionth: shares of k votes meet their mean exactly);
3. each row of C is scaled to the items labelled so, all of it to sum 1: the joint Q;
4. of the items labelled i, the n Q[i, j] with the largest margin p(j | x) - p(i | x) are flagged
   for each other j (prune by noise rate), where j is also their own highest probability.

Figures: `label_error_share` = sum of Q off its diagonal, an estimate of the share of wrong labels
that tends to be high (a right item one vote short of its threshold is counted nowhere);
`flagged_share`; `neighbour_accuracy` = share of items whose label has the highest probability.
On ImageNet and nine others about half of what such an audit flags was truly wrong: it is a list to
look at, not to delete. A label that is wrong throughout a region contradicts nobody and stays
unseen. Labels of fewer than `least_class_items` items are not audited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import (
    GROUPS,
    Interval,
    share_interval,
    split_interval,
    within,
)
from kokeshi_plugins.diagnostics.limits import (
    FLAGGED,
    ITEMS,
    NEIGHBOURS,
    check_cells,
    reads_enough,
)
from kokeshi_plugins.diagnostics.neighbours import nearest
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Rows,
    check_items,
    draw_rows,
    drawn_advice,
    generator,
    labelled_advice,
    name_of,
)

LEAST_CLASSES: Final = 2
SHOWN_LABELS: Final = 30  # in the plot, where each has its name
_ROUNDING: Final = 1e-6  # a share of k votes may equal a mean of such shares but for rounding


@dataclass(frozen=True, eq=False)
class Audit:
    """What confident learning says of n items of C classes.

    Attributes:
        joint: (C, C) float64 that sums to 1: given label by estimated true label.
        wrong: (n,) bool, flagged.
        guess: (n,) int64, the label of the highest probability.
        margin: (n,) float64, probability of the guess less that of the given label.
    """

    joint: Doubles
    wrong: npt.NDArray[np.bool_]
    guess: Rows
    margin: Doubles


def vote(neighbours: Rows, codes: Rows, classes: int) -> Doubles:
    """Shares of labels (n, classes) among neighbours (n, k), rows of `codes`."""
    found = codes[neighbours]
    flat = np.arange(len(found))[:, None] * classes + found
    counts = np.bincount(flat.ravel(), minlength=len(found) * classes)
    return counts.reshape(len(found), classes) / found.shape[1]


def confident_joint(probabilities: Doubles, given: Rows) -> Doubles:
    """Counts C (classes, classes), see the module; `given` (n,) holds every class."""
    classes = probabilities.shape[1]
    thresholds = np.array([probabilities[given == j, j].mean() for j in range(classes)])
    passing = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    sure = passing.max(axis=1) >= 0
    cells = given[sure] * classes + passing[sure].argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.float64)


def calibrated(counts: Doubles, given: Rows) -> Doubles:
    """The joint: rows of C scaled to how often each label was given, in all 1."""
    sums = counts.sum(axis=1, keepdims=True)
    # a label of which no item is sure keeps its items: nothing speaks against them
    rows = np.where(sums > 0, counts / np.where(sums > 0, sums, 1), np.eye(len(counts)))
    return rows * np.bincount(given, minlength=len(counts))[:, None] / len(given)


def off_diagonal(joint: Doubles) -> float:
    """Sum of what is off the diagonal; exactly 0 where nothing is, as 1 less the trace is not."""
    return float(joint.sum(where=~np.eye(len(joint), dtype=bool)))


def whole_numbers(counts: Doubles) -> Rows:
    """Counts (classes, classes) rounded so that each row keeps its sum: largest remainders."""
    floors = np.floor(counts).astype(np.int64)
    missing = np.rint(counts.sum(axis=1)).astype(np.int64) - floors.sum(axis=1)
    ranks = np.argsort(np.argsort(floors - counts, axis=1, kind="stable"), axis=1)
    return np.asarray(floors + (ranks < missing[:, None]))


def audit(probabilities: Doubles, given: Rows) -> Audit:
    """Confident learning, pruned by noise rate.

    Args:
        probabilities: (n, classes) float64, out of sample.
        given: (n,) int64, labels as given, every class at least once.
    """
    joint = calibrated(confident_joint(probabilities, given), given)
    own = np.take_along_axis(probabilities, given[:, None], axis=1)
    margins = probabilities - own
    guess = probabilities.argmax(axis=1)
    wrong = np.zeros(len(given), bool)
    expected = whole_numbers(joint * len(given))
    np.fill_diagonal(expected, 0)
    for label, other in np.argwhere(expected):
        members = np.flatnonzero(given == label)
        order = np.argsort(-margins[members, other], kind="stable")
        wrong[members[order[: expected[label, other]]]] = True
    return Audit(joint, wrong & (guess != given), guess, margins.max(axis=1))


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Flags items whose label their neighbours contradict, worst first."""
    check_items(sample, settings["neighbours"] + 2)
    random = generator(sample)
    base, codes, names = _base(sample, settings, random)
    audited = draw_rows(len(base), settings["most_items"], random)
    check_cells(len(audited), len(names), "items times labels")
    vectors = sample.vectors[base]
    _, neighbours = nearest(vectors[audited], vectors, settings["neighbours"], own=audited)
    given = codes[audited]
    present, given = np.unique(given, return_inverse=True)
    probabilities = vote(neighbours, codes, len(names))[:, present]
    found = audit(probabilities, given)
    share = off_diagonal(found.joint)
    flagged = int(found.wrong.sum())
    return Findings(
        figures={
            "label_error_share": share,
            "flagged_share": flagged / len(audited),
            "flagged_items": float(flagged),
            "neighbour_accuracy": float((found.guess == given).mean()),
            "labels": float(len(present)),
            "items_read": float(len(audited)),
        },
        intervals={
            "flagged_share": share_interval(flagged, len(audited)),
            "label_error_share": _error_interval(share, probabilities, given, random),
        },
        curves=_curves(found, given, [names[i] for i in present]),
        flagged=_reasons(sample, base[audited], found, [names[i] for i in present], settings),
        advice=(
            *labelled_advice(sample, settings["most_voters"]),
            *drawn_advice(len(audited), len(base), sample.seed, "items that vote"),
            f"About {share:.1%} of the labels may be wrong; {flagged:,} items are flagged, "
            "worst first.",
        ),
    )


def _error_interval(
    share: float, probabilities: Doubles, given: Rows, random: np.random.Generator
) -> Interval:
    rows = np.arange(len(given))
    if not share:  # tenths without a doubt do not differ, and yet there may be one in a million
        return share_interval(0, len(rows))
    return within(
        split_interval(share, lambda part: _share(probabilities[part], given[part]), rows, random)
    )


def _share(probabilities: Doubles, given: Rows) -> float:
    present, codes = np.unique(given, return_inverse=True)
    kept = probabilities[:, present]
    return off_diagonal(calibrated(confident_joint(kept, codes), codes))


def _base(
    sample: Sample, settings: Mapping[str, Any], random: np.random.Generator
) -> tuple[Rows, Rows, list[str]]:
    """Rows that vote, their codes and the names of the codes.

    Raises:
        InvalidRequestError: fewer than two labels with enough items.
    """
    labels = np.array(sample.labels)
    labelled = np.flatnonzero(labels != "")
    rows = labelled[draw_rows(len(labelled), settings["most_voters"], random)]
    names, counts = np.unique(labels[rows], return_counts=True)
    kept = names[counts >= settings["least_class_items"]]
    rows = rows[np.isin(labels[rows], kept)]
    least = max(settings["neighbours"] + 1, GROUPS)
    if len(kept) < LEAST_CLASSES or len(rows) < least:
        raise InvalidRequestError(
            f"expected two labels with at least {settings['least_class_items']} items each, and "
            f"at least {least} items, got {len(kept)} and {len(rows)}"
        )
    return rows, np.searchsorted(kept, labels[rows]), [str(name) for name in kept]


def check(settings: Mapping[str, Any]) -> None:
    """Refuses to read fewer items than neighbours, or than there are parts for an interval.

    Raises:
        InvalidRequestError: they are fewer.
    """
    reads_enough(settings, "most_items", GROUPS)
    reads_enough(settings, "most_voters", max(settings["neighbours"] + 2, GROUPS))


def _reasons(
    sample: Sample, rows: Rows, found: Audit, names: list[str], settings: Mapping[str, Any]
) -> dict[str, str]:
    wrong = np.flatnonzero(found.wrong)
    order = wrong[np.argsort(-found.margin[wrong], kind="stable")][: settings["most_flagged"]]
    return {
        name_of(sample, rows[i]): f"labelled {sample.labels[rows[i]]!r}, "
        f"its neighbours say {names[found.guess[i]]!r} (margin {found.margin[i]:.2f})"
        for i in order
    }


def _curves(found: Audit, given: Rows, names: list[str]) -> tuple[Curve, ...]:
    """The labels with flagged items; nothing where there are none."""
    flagged = np.bincount(given[found.wrong], minlength=len(names))
    share = flagged / np.bincount(given)
    order = np.argsort(-share, kind="stable")[: np.count_nonzero(flagged)]
    shown = order[:SHOWN_LABELS]
    if not len(shown):
        return ()
    rest = f" (the first {len(shown)} of {len(order):,})" if len(shown) < len(order) else ""
    return (
        Curve(
            title="labels with flagged items, most first",
            x_label=f"label{rest}",
            y_label="share flagged",
            x=np.arange(1, len(shown) + 1, dtype=np.float64),
            y=share[shown],
            kind="bars",
            names=tuple(names[i] for i in shown),
        ),
    )


PLUGIN: Final = Diagnostic(
    name="label_audit",
    paper=Paper(
        title="Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks",
        authors="C. G. Northcutt, A. Athalye, J. Mueller",
        year=2021,
        url="https://arxiv.org/abs/2103.14749",
    ),
    licence="Apache-2.0",
    measure=measure,
    needs=frozenset({"labels"}),
    defaults={
        "neighbours": 10,
        "most_items": 20_000,
        "most_voters": 200_000,
        "least_class_items": 5,
        "most_flagged": 1_000,
    },
    bounds={
        "neighbours": NEIGHBOURS,
        "most_items": ITEMS,
        "most_voters": ITEMS,
        "least_class_items": Bounds(1, ITEMS.most),
        "most_flagged": FLAGGED,
    },
    check=check,
    rows=(222,),
    summary="labels that an item's neighbours contradict, worst first",
)
