"""How good each Matryoshka prefix is by itself.

Prefixes are compared as a collection compares them: cut from unit vectors and made unit again, or
cut and left as they are where the vectors are not unit. Random items are the queries; an item is
never its own neighbour. For each trained length L:

- `self_recall_at_10_of_L` = share of the 10 nearest at full length that are among the 10 nearest
  at L (10 is the setting `neighbours`); the mean over queries, its interval by the central limit.
- `energy_share_of_L` = mean over items of |x[:L]|^2 / |x|^2.
- `depth_of_L`: of the shortlists by L that a funnel could re-rank, the shortest that holds .98
  of the 10 nearest (adaptive retrieval: A. Kusupati et al., Matryoshka Representation Learning,
  2022, section 4.3; the share is the setting `target_recall`).
- `neighbour_accuracy_of_L` = share of queries whose nearest item by L has their label, where there
  are labels (the paper's 1-NN accuracy).

State the self-recall beside any claim about a prefix: it says how much of a saving is the data's.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import Interval, bounded_interval, share_interval
from kokeshi_plugins.diagnostics.limits import ITEMS, NEIGHBOURS, reads_enough
from kokeshi_plugins.diagnostics.neighbours import nearest, squared_distances
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

MOST_QUERIES: Final = 5_000  # memory: pairs of their neighbours at two lengths
LEAST_RECALL: Final = 0.01


def ranks_of(queries: Floats, base: Floats, wanted: Rows, own: Rows) -> Rows:
    """Where rows stand in the order of a prefix.

    Args:
        queries: (queries, length), prefixes.
        base: (n, length).
        wanted: (queries, k) rows of `base`.
        own: (queries,) the row of `base` that is the query.

    Returns:
        (queries, k) int64: how many other rows of `base` are nearer; 0 is the nearest.
    """
    ranks = np.empty(wanted.shape, np.int64)
    for block, squares in squared_distances(queries, base):
        lines = np.arange(len(squares))
        squares[lines, own[block]] = np.inf
        bounds = np.take_along_axis(squares, wanted[block], axis=1)
        for column in range(wanted.shape[1]):
            ranks[block, column] = (squares < bounds[:, column, None]).sum(axis=1)
    return ranks


def depth_for(ranks: Rows, share: float) -> int:
    """The shortest shortlist that holds this share of all wanted rows."""
    ordered = np.sort(ranks.ravel())
    return int(ordered[int(np.ceil(share * len(ordered))) - 1]) + 1


def energy_shares(vectors: Floats, lengths: tuple[int, ...]) -> Doubles:
    """(n, lengths): squared norm of each prefix over that of the whole; 1 for a row of zeros."""
    sums = np.square(vectors, dtype=np.float64).cumsum(axis=1)[:, np.array(lengths) - 1]
    whole = np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True)
    return np.divide(sums, whole, out=np.ones_like(sums), where=whole > 0)


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Self-recall, energy and depth of each trained length."""
    k, random = settings["neighbours"], generator(sample)
    check_items(sample, k + 2)
    rows = draw_rows(len(sample.vectors), settings["most_items"], random)
    base = sample.vectors[rows]
    asked = draw_rows(len(base), settings["most_queries"], random)
    _, wanted = nearest(base[asked], base, k, own=asked)
    energy = energy_shares(base[asked], sample.trained)
    labels = np.array(sample.labels or [""] * len(sample.vectors))[rows]
    counts = {"items": len(sample.vectors), "items_read": len(rows), "queries_read": len(asked)}
    figures = {name: float(count) for name, count in counts.items()}
    intervals: dict[str, Interval] = {}
    for column, length in enumerate(sample.trained):
        prefix = cut(base, length)
        _, found = nearest(prefix[asked], prefix, k, own=asked)
        recalls = (found[:, :, None] == wanted[:, None, :]).any(axis=1).mean(axis=1)
        ranks = ranks_of(prefix[asked], prefix, wanted, asked)
        terms = {
            f"self_recall_at_{k}_of_{length}": recalls,
            f"energy_share_of_{length}": energy[:, column],
        }
        figures |= {name: float(values.mean()) for name, values in terms.items()}
        intervals |= {name: bounded_interval(values) for name, values in terms.items()}
        figures[f"depth_of_{length}"] = float(max(k, depth_for(ranks, settings["target_recall"])))
        right = (labels[found[:, 0]] == labels[asked])[labels[asked] != ""]
        if len(right):
            name = f"neighbour_accuracy_of_{length}"
            figures[name] = float(right.mean())
            intervals[name] = share_interval(int(right.sum()), len(right))
    return Findings(
        figures=figures,
        intervals=intervals,
        curves=_curves(figures, sample.trained, k),
        advice=(
            *drawn_advice(len(rows), len(sample.vectors), sample.seed),
            *_sentences(figures, sample.trained, k, settings["target_recall"]),
        ),
    )


def _sentences(
    figures: Mapping[str, float], lengths: tuple[int, ...], k: int, target: float
) -> list[str]:
    return [
        f"By itself the prefix of {length} finds {figures[f'self_recall_at_{k}_of_{length}']:.1%} "
        f"of the {k} nearest; "
        f"{figures[f'depth_of_{length}']:.0f} candidates by it hold {target:.0%}."
        for length in lengths[:-1]
    ]


def _curves(figures: Mapping[str, float], lengths: tuple[int, ...], k: int) -> tuple[Curve, ...]:
    if len(lengths) == 1:
        return ()
    x, x_label = np.array(lengths, np.float64), "prefix length (dimensions)"
    shares = {
        f"self_recall_at_{k}": f"self-recall at {k} (share)",
        "energy_share": "energy (share)",
        "neighbour_accuracy": "nearest has the label (share)",
    }
    drawn = [
        Curve("each prefix by itself", x_label, label, x, _series(figures, name, lengths))
        for name, label in shares.items()
        if f"{name}_of_{lengths[0]}" in figures
    ]
    depths = _series(figures, "depth", lengths)
    return (*drawn, Curve("candidates to re-rank", x_label, "shortlist (items)", x, depths))


def _series(figures: Mapping[str, float], name: str, lengths: tuple[int, ...]) -> Doubles:
    return np.array([figures[f"{name}_of_{length}"] for length in lengths])


PLUGIN: Final = Diagnostic(
    name="prefixes",
    paper=Paper(
        title="Matryoshka Representation Learning",
        authors="A. Kusupati et al.",
        year=2022,
        url="https://arxiv.org/abs/2205.13147",
    ),
    licence="Apache-2.0",
    measure=measure,
    defaults={
        "neighbours": 10,
        "target_recall": 0.98,
        "most_items": 100_000,
        "most_queries": 500,
    },
    bounds={
        "neighbours": NEIGHBOURS,
        "target_recall": Bounds(LEAST_RECALL, 1),
        "most_items": ITEMS,
        "most_queries": Bounds(1, MOST_QUERIES),
    },
    check=lambda settings: reads_enough(settings, "most_items", settings["neighbours"] + 2),
    summary="self-recall, energy and shortlist depth of each trained length",
)
