"""Near-duplicates: pairs of items at or above a cosine.

Up to `most_items` items every pair is looked at, in tiles: memory does not grow with the square.
A pair whose first dimensions rule it out is never multiplied in full: for unit a and b,
a.b <= a'.b' + |a''| |b''|, with ' the prefix and '' the rest (Cauchy and Schwarz), and what is
left is decided in float64. Above `most_items`, as many random items as cost the same are compared
with all items, and `duplicated_share` gets an interval that holds at any size (Chernoff).

- `duplicated_share` = share of items with another at or above the cosine.
- `pairs`, `groups`, `redundant_items`: pairs, connected groups, and items that would go if one of
  each group stayed; only where every pair was looked at.

More than `most_pairs` pairs end the search: the figures are then of what was found, as the advice
says, and a higher cosine is the way on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kokeshi.plugin import Bounds, Curve, Diagnostic, Findings, Paper, Sample, go_on
from kokeshi_plugins.diagnostics.intervals import share_interval
from kokeshi_plugins.diagnostics.limits import FLAGGED, ITEMS
from kokeshi_plugins.diagnostics.sampling import (
    Doubles,
    Floats,
    Rows,
    check_items,
    draw_rows,
    generator,
    name_of,
    unit,
)

TILE_ROWS: Final = 2_048  # a tile of bounds is 16 MiB
MOST_PAIRS: Final = 10_000_000  # memory of their cosines, 80 MB, and a second for each million
LEAST_COSINE: Final = 0.01
PREFIX: Final = 64  # dimensions of the bound
_ROUNDING: Final = 1e-5  # of float32 bounds of unit vectors
_GATHER_ROWS: Final = 8_192  # pairs that are multiplied in full at a time
_BINS: Final = 20
_STOPPED: Final = "The search ended at its limit of pairs: the figures are lower bounds."


@dataclass(eq=False)
class Pairs:
    """Pairs found so far, the first item of each before the second.

    Attributes:
        group: (n,) the lowest item known to be linked with each.
        twin: item -> the earlier item most like it, and their cosine.
    """

    group: Rows
    duplicated: Rows
    cosines: list[Doubles] = field(default_factory=list)
    twin: dict[int, tuple[int, float]] = field(default_factory=dict)
    count: int = 0

    def add(self, first: Rows, second: Rows, cosines: Doubles) -> None:
        """Takes in a tile's pairs."""
        self.count += len(first)
        self.cosines.append(cosines)
        self.duplicated[first] = self.duplicated[second] = 1
        for one, other, cosine in zip(
            first.tolist(), second.tolist(), cosines.tolist(), strict=True
        ):
            if cosine > self.twin.get(other, (0, -1.0))[1]:
                self.twin[other] = (one, cosine)
            self._link(one, other)

    def _link(self, one: int, other: int) -> None:
        one, other = sorted((self.root(one), self.root(other)))
        self.group[other] = one

    def root(self, item: int) -> int:
        """The lowest item of an item's group."""
        while self.group[item] != item:
            self.group[item] = self.group[self.group[item]]
            item = int(self.group[item])
        return item


def pairs_above(
    left: Floats, right: Floats, cosine: float, *, triangle: bool
) -> Iterator[tuple[Rows, Rows, Doubles]]:
    """Tiles of pairs at or above a cosine.

    Args:
        left: (m, dim) unit norm.
        right: (n, dim) unit norm.
        cosine: the threshold.
        triangle: both are the same rows, and only pairs with a later one are wanted.

    Yields:
        Rows of `left`, rows of `right`, and their cosines in float64.
    """
    bound_left, bound_right = _bounding(left), _bounding(right)
    for top in range(0, len(left), TILE_ROWS):
        for start in range(top if triangle else 0, len(right), TILE_ROWS):
            go_on()
            bounds = bound_left[top : top + TILE_ROWS] @ bound_right[start : start + TILE_ROWS].T
            one, other = np.nonzero(bounds >= cosine - _ROUNDING)
            one, other = one + top, other + start
            if triangle:
                later = other > one
                one, other = one[later], other[later]
            yield from _decided(left, right, one, other, cosine)


def _bounding(vectors: Floats) -> Floats:
    """(n, PREFIX + 1): the prefix, then the norm of the rest: products of these bound cosines."""
    prefix, rest = vectors[:, :PREFIX], vectors[:, PREFIX:]
    return np.hstack([prefix, np.linalg.norm(rest, axis=1, keepdims=True)])


def _decided(
    left: Floats, right: Floats, one: Rows, other: Rows, cosine: float
) -> Iterator[tuple[Rows, Rows, Doubles]]:
    for start in range(0, len(one), _GATHER_ROWS):
        part = slice(start, start + _GATHER_ROWS)
        first, second = one[part], other[part]
        cosines = np.einsum("ij,ij->i", left[first], right[second], dtype=np.float64)
        kept = cosines >= cosine
        if kept.any():
            yield first[kept], second[kept], np.minimum(cosines[kept], 1.0)


def measure(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """All near-duplicate pairs, or the share of items that have one."""
    check_items(sample, 2)
    whole = len(sample.vectors) <= settings["most_items"]
    return _all_pairs(sample, settings) if whole else _drawn(sample, settings)


def _all_pairs(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    vectors, cosine = unit(sample.vectors), float(settings["cosine"])
    count = len(vectors)
    found = Pairs(np.arange(count), np.zeros(count, np.int64))
    stopped = False
    for first, second, cosines in pairs_above(vectors, vectors, cosine, triangle=True):
        found.add(first, second, cosines)
        if found.count > settings["most_pairs"]:
            stopped = True
            break
    roots = {found.root(item) for item in np.flatnonzero(found.duplicated).tolist()}
    duplicated = int(found.duplicated.sum())
    return Findings(
        figures={
            "duplicated_share": duplicated / count,
            "pairs": float(found.count),
            "groups": float(len(roots)),
            "redundant_items": float(duplicated - len(roots)),
            "items": float(count),
            "items_read": float(count),
        },
        curves=_histogram(found.cosines, cosine),
        flagged=_reasons(sample, found.twin, settings["most_flagged"]),
        advice=(_sentence(duplicated, len(roots), cosine, stopped=stopped),),
    )


def _sentence(duplicated: int, groups: int, cosine: float, *, stopped: bool) -> str:
    if stopped:
        return f"{_STOPPED} A cosine above {cosine} finds fewer."
    return f"{duplicated:,} items in {groups:,} groups have another at cosine {cosine} or above."


def _drawn(sample: Sample, settings: Mapping[str, Any]) -> Findings:
    """Random items against all; a drawn item has one verdict, so their share is binomial."""
    count, most = len(sample.vectors), settings["most_items"]
    rows = draw_rows(count, max(1, most * most // (2 * count)), generator(sample))
    vectors, cosine = unit(sample.vectors), float(settings["cosine"])
    twins, cosines, stopped = _twins(vectors, rows, cosine, settings["most_pairs"])
    low, high = share_interval(len(twins), len(rows))
    high = 1.0 if stopped else high  # of the items not looked at, all may have one
    return Findings(
        figures={
            "duplicated_share": len(twins) / len(rows),
            "items": float(count),
            "items_read": float(len(rows)),
        },
        intervals={"duplicated_share": (low, high)},
        curves=_histogram(cosines, cosine),
        flagged=_reasons(sample, twins, settings["most_flagged"]),
        advice=(
            f"{len(rows):,} of {count:,} items were drawn (seed {sample.seed}) and compared with "
            f"all: between {low:.2%} and {high:.2%} have another at cosine {cosine} or above.",
            *([_STOPPED] if stopped else []),
        ),
    )


def _twins(
    vectors: Floats, rows: Rows, cosine: float, most_pairs: int
) -> tuple[dict[int, tuple[int, float]], list[Doubles], bool]:
    """Each drawn item's likest, the cosines of all pairs, and whether the limit ended it."""
    twins: dict[int, tuple[int, float]] = {}
    kept: list[Doubles] = []
    pairs = 0
    for drawn, other, cosines in pairs_above(vectors[rows], vectors, cosine, triangle=False):
        apart = rows[drawn] != other
        found = (rows[drawn][apart].tolist(), other[apart].tolist(), cosines[apart].tolist())
        for item, twin, value in zip(*found, strict=True):
            if value > twins.get(item, (0, -1.0))[1]:
                twins[item] = (twin, value)
        kept.append(cosines[apart])
        pairs += int(apart.sum())
        if pairs > most_pairs:
            return twins, kept, True
    return twins, kept, False


def _reasons(sample: Sample, twins: Mapping[int, tuple[int, float]], most: int) -> dict[str, str]:
    """Items by how like they are to another, most alike first."""
    worst = sorted(twins.items(), key=lambda entry: (-entry[1][1], entry[0]))[:most]
    return {
        name_of(sample, item): f"cosine {value:.4f} to {name_of(sample, twin)!r}"
        for item, (twin, value) in worst
    }


def _histogram(cosines: list[Doubles], cosine: float) -> tuple[Curve, ...]:
    if not cosines or cosine >= 1:
        return ()
    counts, edges = np.histogram(np.concatenate(cosines), _BINS, (cosine, 1))
    return (
        Curve(
            title="near-duplicate pairs",
            x_label="cosine",
            y_label="pairs",
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts.astype(np.float64),
            kind="bars",
        ),
    )


PLUGIN: Final = Diagnostic(
    name="near_duplicates",
    paper=Paper(
        title="SemDeDup: Data-efficient learning at web-scale through semantic deduplication",
        authors="A. Abbas et al.",
        year=2023,
        url="https://arxiv.org/abs/2303.09540",
    ),
    licence="Apache-2.0",
    measure=measure,
    defaults={
        "cosine": 0.98,
        "most_items": 100_000,
        "most_pairs": 1_000_000,
        "most_flagged": 1_000,
    },
    bounds={
        "cosine": Bounds(LEAST_COSINE, 1),
        "most_items": ITEMS,
        "most_pairs": Bounds(1, MOST_PAIRS),
        "most_flagged": FLAGGED,
    },
    summary="pairs of items above a cosine, and how many items could go",
)
