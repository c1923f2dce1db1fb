"""Hubness: items that are everybody's neighbour, and items that are nobody's.

N_k(x) is how many items have x among their k nearest, a mean of k whatever the vectors.

- `hubness_skewness` = E[(N - k)^3] / sd(N)^3 (M. Radovanovic, A. Nanopoulos, M. Ivanovic, Hubs in
  Space, 2010); about 0 in few dimensions, above 1.4 is commonly called hubness.
- `antihub_share` = share of items with N = 0, which no item's first page shows;
  `hub_occurrence_share` = share of all places in neighbour lists that items with N >= 2k hold;
  `robin_hood_share` = sum |N - k| / (2 sum N), the share of places that would have to move for all
  to be equal (R. Feldbauer, T. Rattei, A. Flexer, scikit-hubness, 2020).
- `query_...` are the same of N counted over queries, where the sample has any.

Above `most_items` a draw is measured, and hubness of a draw is not that of the whole: skewness
grows with the number of items. The intervals (jackknife) are those of the draw.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from kokeshi.plugin import Curve, Diagnostic, Findings, Paper, Sample
from kokeshi_plugins.diagnostics.intervals import jackknife_intervals
from kokeshi_plugins.diagnostics.limits import FLAGGED, ITEMS, NEIGHBOURS, reads_enough
from kokeshi_plugins.diagnostics.neighbours import nearest
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Rows,
    check_finite,
    check_items,
    draw_rows,
    drawn_advice,
    generator,
    name_of,
)

HUB_FACTOR: Final = 2  # an item is a hub from this many times its fair share of places
HIGH_SKEWNESS: Final = 1.4
_FIGURES: Final = (
    "hubness_skewness",
    "robin_hood_share",
    "antihub_share",
    "hub_occurrence_share",
)


def occurrences(neighbours: Rows, count: int) -> Rows:
    """N_k of `count` items from lists of neighbours (queries, k)."""
    return np.bincount(neighbours.ravel(), minlength=count)


def figures_of(times: Rows, fair: float) -> Doubles:
    """The figures of _FIGURES, in that order, of N_k (n,) whose mean is `fair`."""
    mean = times.mean()
    apart = times - mean
    spread = times.std()
    total = times.sum()
    return np.array(
        [
            (apart**3).mean() / spread**3 if spread else 0.0,
            np.abs(apart).sum() / (2 * total),
            (times == 0).mean(),
            times[times >= HUB_FACTOR * fair].sum() / total,
        ]
    )


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Counts how often each item is a neighbour: of the others, and of the queries."""
    k, random = settings["neighbours"], generator(sample)
    check_items(sample, k + 2)
    rows = draw_rows(len(sample.vectors), settings["most_items"], random)
    vectors = sample.vectors[rows]
    _, neighbours = nearest(vectors, vectors, k, own=np.arange(len(rows)))
    times = occurrences(neighbours, len(rows))
    found = figures_of(times, k)
    figures = dict(zip(_FIGURES, found.tolist(), strict=True))
    figures |= {
        "most_occurrences": float(times.max()),
        "items": float(len(sample.vectors)),
        "items_read": float(len(rows)),
    }
    if sample.queries is not None and len(sample.queries):
        check_finite(sample.queries, "queries")
        chosen = draw_rows(len(sample.queries), settings["most_items"], random)
        _, asked = nearest(sample.queries[chosen], vectors, k)
        values = figures_of(occurrences(asked, len(rows)), asked.size / len(rows))
        figures |= {f"query_{n}": float(v) for n, v in zip(_FIGURES, values, strict=True)}
    ranges = jackknife_intervals(
        found, lambda kept: figures_of(times[kept], k), np.arange(len(rows)), random
    )
    return Findings(
        figures=figures,
        intervals=dict(zip(_FIGURES, ranges, strict=True)),
        curves=(_histogram(times),),
        flagged={
            name_of(sample, rows[i]): f"among the {k} nearest of {times[i]:,} items"
            for i in np.argsort(-times, kind="stable")[: settings["most_flagged"]]
            if times[i] >= HUB_FACTOR * k
        },
        advice=(
            *drawn_advice(len(rows), len(sample.vectors), sample.seed),
            _sentence(figures, k),
        ),
    )


def _sentence(figures: Mapping[str, float], k: int) -> str:
    start = f"{figures['antihub_share']:.1%} of the items are among the {k} nearest of no other"
    if figures["hubness_skewness"] <= HIGH_SKEWNESS:
        return f"{start}; neighbourhoods are shared out evenly enough."
    return (
        f"{start}, and items with at least {HUB_FACTOR * k} hold "
        f"{figures['hub_occurrence_share']:.1%} of all places: centring the vectors lessens hubs."
    )


def _histogram(times: Rows) -> Curve:
    values, counts = np.unique(times, return_counts=True)
    return Curve(
        title="how often items are neighbours",
        x_label="lists of nearest items that hold the item",
        y_label="items",
        x=values.astype(np.float64),
        y=counts.astype(np.float64),
        kind="bars",
    )


PLUGIN: Final = Diagnostic(
    name="hubness",
    paper=Paper(
        title="Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data",
        authors="M. Radovanovic, A. Nanopoulos, M. Ivanovic",
        year=2010,
        url="https://www.jmlr.org/papers/v11/radovanovic10a.html",
    ),
    licence="Apache-2.0",
    measure=measure,
    defaults={"neighbours": 10, "most_items": 20_000, "most_flagged": 100},
    bounds={"neighbours": NEIGHBOURS, "most_items": ITEMS, "most_flagged": FLAGGED},
    check=lambda settings: reads_enough(settings, "most_items", settings["neighbours"] + 2),
    summary="items that are everybody's neighbour, and items that are nobody's",
)
