"""Drift of queries against items: do both come from one distribution?

Two tests, each by permutation of who is a query and who an item; their level is exact, whatever
the distribution, if queries and items are independent draws:

- `mmd_squared`, the unbiased squared maximum mean discrepancy with a Gaussian kernel
  exp(-|x - y|^2 / (2 s^2)), s^2 = half the median squared distance of the pooled rows, sees any
  difference (A. Gretton et al., A Kernel Two-Sample Test, 2012, lemma 6).
- `largest_mean_shift`, the largest over dimensions of |mean of queries - mean of items| / pooled
  standard deviation, names dimensions (the maximum makes it right for all of them together: P.
  Westfall and S. Young, 1993).

`p_value` = min(1, 2 min(p of the two)), so `drifted` is 1 in at most a share `false_alarm_rate` of
collections without drift. Queries that repeat, or come in bursts from one user, are no independent
draws and raise false alarms: sample them over time. `energy_distance` = 2 E|x-y| - E|x-x'| -
E|y-y'| (G. Szekely, M. Rizzo, 2013; V-statistic) is there to compare one week with another.

With many queries any difference is significant; what it means for search is told by
`query_nearest_distance`, the median distance of a query to its nearest item, beside
`item_nearest_distance`, that of an item to its nearest other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample, go_on
from kokeshi_plugins.diagnostics.neighbours import squared_distances
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    check_finite,
    check_items,
    draw_rows,
    drawn_advice,
    generator,
)

LEAST: Final = 10  # items, and queries
MOST_ITEMS: Final = 2_000  # memory: of items and queries, six matrices of all pairs, 128 MB each
MOST_PERMUTATIONS: Final = 100_000  # time: each is a product of a line with such a matrix
LEAST_RATE: Final = 2 / MOST_PERMUTATIONS  # that so many can show
MOST_RATE: Final = 0.99
BLOCK_BYTES: Final = 16 * 2**20  # memory: of one block of permutations


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a permutation test says.

    Attributes:
        value: of the statistic.
        threshold: what it exceeds by chance in a share `false_alarm_rate` of permutations.
        p_value: share of permutations, the one seen included, that reach the value.
    """

    value: float
    threshold: float
    p_value: float


def distances_of(pooled: Floats) -> Doubles:
    """Euclid's distances between all rows, (n, n) float64, zero on the diagonal."""
    squares = np.concatenate([block for _, block in squared_distances(pooled, pooled)])
    np.fill_diagonal(squares, 0)
    return np.sqrt(np.maximum(squares, 0, dtype=np.float64))


def gaussian_kernel(distances: Doubles) -> Doubles:
    """The kernel of the module, its width from the median off the diagonal."""
    width = float(np.median(distances[np.triu_indices(len(distances), 1)] ** 2))
    return np.exp(-np.square(distances) / (width or 1.0))


def shuffles(items: int, queries: int, count: int, random: np.random.Generator) -> Doubles:
    """Who is a query: (1 + count, items + queries) of 0 and 1, the truth first, items before."""
    return np.concatenate(list(blocks_of_shuffles(items, queries, count, random)))


def blocks_of_shuffles(
    items: int, queries: int, count: int, random: np.random.Generator
) -> Iterator[Doubles]:
    """The same, a block of lines at a time."""
    truth = np.repeat([0.0, 1.0], [items, queries])
    lines = max(1, BLOCK_BYTES // (8 * len(truth)))
    block = [truth]
    for _ in range(count):
        if len(block) == lines:
            yield np.stack(block)
            go_on()
            block = []
        block.append(random.permutation(truth))
    yield np.stack(block)


def mmd_squared(kernel: Doubles, is_query: Doubles) -> Doubles:
    """Unbiased MMD^2 of each line of `is_query` (lines, n), from the kernel of all rows (n, n)."""
    queries = is_query[0].sum()
    items = len(kernel) - queries
    off = kernel - np.diag(np.diag(kernel))
    total = off.sum()
    to_queries = is_query @ off
    among_queries = np.einsum("ij,ij->i", to_queries, is_query)
    across = to_queries.sum(axis=1) - among_queries
    among_items = total - among_queries - 2 * across
    return np.asarray(
        among_queries / (queries * (queries - 1))
        + among_items / (items * (items - 1))
        - 2 * across / (items * queries)
    )


def mean_shifts(pooled: Floats, is_query: Doubles) -> Doubles:
    """(lines, dim): mean of queries less mean of items, in pooled standard deviations."""
    centred = pooled.astype(np.float64) - pooled.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    queries = is_query[0].sum()
    # centred rows sum to nothing: the items' sum is the queries' with its sign turned
    sums = is_query @ (centred / np.where(spread > 0, spread, 1))
    return np.asarray(sums / queries + sums / (len(pooled) - queries))


def verdict(values: Doubles, false_alarm_rate: float) -> Verdict:
    """Of a statistic by line of `shuffles`; larger is more different."""
    reached = float((values >= values[0]).mean())
    return Verdict(float(values[0]), float(np.quantile(values, 1 - false_alarm_rate)), reached)


def energy_distance(distances: Doubles, items: int) -> float:
    """Between the first `items` rows and the rest."""
    across = distances[:items, items:].mean()
    return float(2 * across - distances[:items, :items].mean() - distances[items:, items:].mean())


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Tests queries against items."""
    items, queries, random = *_both(sample), generator(sample)
    rate = float(settings["false_alarm_rate"])
    used = [
        vectors[draw_rows(len(vectors), settings["most_items"], random)]
        for vectors in (items, queries)
    ]
    pooled, border = np.concatenate(used), len(used[0])
    distances = distances_of(pooled)
    blocks = blocks_of_shuffles(border, len(used[1]), settings["permutations"], random)
    spreads, largest, own = _permuted(pooled, gaussian_kernel(distances), blocks)
    mmd, shift = verdict(spreads, rate / 2), verdict(largest, rate / 2)
    p_value = min(1.0, 2 * min(mmd.p_value, shift.p_value))
    near = _nearest(distances, border)
    figures = {
        "drifted": float(p_value <= rate),
        "p_value": p_value,
        "false_alarm_rate": rate,
        "mmd_squared": mmd.value,
        "mmd_squared_threshold": mmd.threshold,
        "largest_mean_shift": shift.value,
        "largest_mean_shift_threshold": shift.threshold,
        "shifted_dimensions": float((np.abs(own) > shift.threshold).sum()),
        "energy_distance": energy_distance(distances, border),
        "query_nearest_distance": near[1],
        "item_nearest_distance": near[0],
        "items_read": float(border),
        "queries_read": float(len(used[1])),
    }
    return Findings(
        figures=figures,
        curves=_curves(own, shift.threshold),
        advice=(
            *drawn_advice(border, len(items), sample.seed),
            *drawn_advice(len(used[1]), len(queries), sample.seed, "queries"),
            _sentence(figures, int(np.abs(own).argmax())),
        ),
    )


def _permuted(
    pooled: Floats, kernel: Doubles, blocks: Iterator[Doubles]
) -> tuple[Doubles, Doubles, Doubles]:
    """By line of the shuffles MMD^2 and the largest shift, and the shifts (dim,) of the truth."""
    spreads, largest, own = [], [], None
    for lines in blocks:
        spreads.append(mmd_squared(kernel, lines))
        shifts = mean_shifts(pooled, lines)
        largest.append(np.abs(shifts).max(axis=1))
        own = shifts[0].copy() if own is None else own
    assert own is not None  # the truth is a line
    return np.concatenate(spreads), np.concatenate(largest), own


def check(settings: Mapping[str, Any]) -> None:
    """Refuses a rate that so few permutations cannot show.

    Raises:
        InvalidRequestError: it is one.
    """
    least = round(2 / settings["false_alarm_rate"]) - 1
    if settings["permutations"] < least:
        raise InvalidRequestError(
            f"a false-alarm rate of {settings['false_alarm_rate']!r} needs at least {least} "
            f"permutations, got {settings['permutations']!r}"
        )


def _both(sample: Sample) -> tuple[Floats, Floats]:
    """Items and queries.

    Raises:
        InvalidRequestError: too few, or of another length.
    """
    check_items(sample, LEAST)
    queries = sample.queries
    if queries is None or len(queries) < LEAST:
        got = 0 if queries is None else len(queries)
        raise InvalidRequestError(f"expected at least {LEAST} queries, got {got}")
    if queries.shape[1] != sample.vectors.shape[1]:
        raise InvalidRequestError(
            f"expected queries of {sample.vectors.shape[1]} dimensions, got {queries.shape[1]}"
        )
    check_finite(queries, "queries")
    return sample.vectors, queries


def _nearest(distances: Doubles, border: int) -> tuple[float, float]:
    """Median distances to the nearest item: of the items, and of the queries."""
    among = distances[:border, :border] + np.diag(np.full(border, np.inf))
    return float(np.median(among.min(axis=1))), float(
        np.median(distances[border:, :border].min(axis=1))
    )


def _sentence(figures: Mapping[str, float], dimension: int) -> str:
    if not figures["drifted"]:
        return (
            f"No drift is seen (p = {figures['p_value']:.3f}, false alarms in at most "
            f"{figures['false_alarm_rate']:.0%} of such checks)."
        )
    return (
        f"Queries are drawn from elsewhere than the items (p = {figures['p_value']:.3f}): "
        f"dimension {dimension} moved most, by {figures['largest_mean_shift']:.2f} standard "
        f"deviations; a query is {figures['query_nearest_distance']:.3f} from its nearest item, "
        f"an item {figures['item_nearest_distance']:.3f} from its nearest other."
    )


def _curves(shifts: Doubles, threshold: float) -> tuple[Curve, ...]:
    x = np.arange(len(shifts), dtype=np.float64)
    title, x_label = "mean shift of queries against items", "dimension"
    bound = np.full(len(shifts), threshold)
    return (
        Curve(title, x_label, "shift (standard deviations)", x, shifts, "bars"),
        Curve(title, x_label, "largest by chance (standard deviations)", x, bound),
        Curve(title, x_label, "smallest by chance (standard deviations)", x, -bound),
    )


PLUGIN: Final = Diagnostic(
    name="drift",
    paper=Paper(
        title="A Kernel Two-Sample Test",
        authors="A. Gretton et al.",
        year=2012,
        url="https://jmlr.org/papers/v13/gretton12a.html",
    ),
    licence="Apache-2.0",
    measure=measure,
    needs=frozenset({"queries"}),
    defaults={"most_items": 1_000, "permutations": 499, "false_alarm_rate": 0.01},
    bounds={
        "most_items": Bounds(LEAST, MOST_ITEMS),
        "permutations": Bounds(1, MOST_PERMUTATIONS),
        "false_alarm_rate": Bounds(LEAST_RATE, MOST_RATE),
    },
    check=check,
    summary="whether queries come from where the items are, with a stated false-alarm rate",
)
