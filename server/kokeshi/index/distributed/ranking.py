"""The last ranking: candidates of a server are scored here, in float64, whatever it made of them.

So a score does not depend on the store that holds a vector, and equal scores stand by age.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kokeshi.errors import TooLargeError
from kokeshi.index.asked import SearchParams
from kokeshi.index.found import Hit
from kokeshi.index.geometry import Doubles, Geometry, unit
from kokeshi.index.items import Vector
from kokeshi.index.spec import CollectionSpec

SHORTLIST_ROWS: Final = 500
SHORTLIST_PER_K: Final = 50
MARGIN: Final = 16  # rows beyond k, so that float32's rounding cannot push one of the k out
WIDER: Final = 4  # times as many rows when too few fit
BREADTH: Final = 128
# On hard data a quarter of 1024 floats and 400 rows keep 99.7 % of the neighbours, an eighth 97 %.
SHORTLIST_DIMENSION: Final = 64
SHORTLIST_SHARE: Final = 0.25

Row = Mapping[str, Any]


def shortlist_dimension(spec: CollectionSpec) -> int:
    """The trained length that candidates are best taken at."""
    least = max(SHORTLIST_DIMENSION, SHORTLIST_SHARE * spec.dim)
    return next((length for length in spec.trained if length >= least), spec.dim)


def shortlist_rows(params: SearchParams) -> int:
    """Rows that a search takes at a prefix before it ranks them at another length."""
    return params.shortlist or max(SHORTLIST_ROWS, SHORTLIST_PER_K * params.k)


def check_depth(
    spec: CollectionSpec, params: SearchParams, most: int, total: int, is_exact: bool
) -> None:
    """Refuses to read every row for more hits than come with their vectors at once.

    Where an answer holds all rows, or was asked to be exact and without vectors, they are read.

    Args:
        spec: of the collection.
        params: of the search.
        most: rows that come with their vectors at once.
        total: rows that may be found.
        is_exact: every row is to be compared.

    Raises:
        TooLargeError: k is larger than that.
    """
    is_bounded = is_exact and not params.with_vectors
    if params.k > most and total > most and not is_bounded:
        raise TooLargeError(
            f"k must be at most {most} for vectors of {spec.dim} values, got {params.k}"
        )


@dataclass(eq=False)
class Best:
    """The best rows of one query so far, by score and then by age.

    Attributes:
        query: what `Geometry.query` made.
        k: most of them.
        found: score (larger is nearer), number and row of each; a row that is offered has its
            vector in "full".
    """

    query: Doubles
    k: int
    found: list[tuple[float, int, Row]] = field(default_factory=list)

    def offer(self, geometry: Geometry, rows: Sequence[Row], *, with_vectors: bool = True) -> None:
        """Takes rows that fit, with their vectors where they are to be told."""
        if not rows:
            return
        vectors = np.asarray([row["full"] for row in rows], np.float32)
        # the embedded store compares rows at unit norm: the same bits, the same scores
        vectors = unit(vectors) if geometry.metric == "cosine" else vectors
        scores = geometry.compare(vectors, self.query).tolist()
        if not with_vectors:
            rows = [{key: row[key] for key in row if key != "full"} for row in rows]
        self.found.extend(zip(scores, (row["seq"] for row in rows), rows, strict=True))
        self.found.sort(key=lambda one: (-one[0], one[1]))
        del self.found[self.k :]

    def hits(self, spec: CollectionSpec, params: SearchParams) -> Iterator[Hit]:
        """What is found, as far as the threshold reaches."""
        sign = 1.0 if spec.higher_is_better else -1.0
        for score, _, row in self.found:
            if params.threshold is not None and score < sign * params.threshold:
                return
            vector: Vector | None = None
            if params.with_vectors:
                vector = np.asarray(row["full"], np.float32)
            # a distance is never -0.0
            yield Hit(row["id"], score if sign > 0 else abs(score), row["metadata"], vector)
