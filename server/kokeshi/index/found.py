"""What a search found, how it went, and how much such searches miss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kokeshi.index.items import Vector


class Hit(NamedTuple):
    """One neighbour; `score` is a similarity, larger nearer, or a distance, smaller nearer."""

    id: str
    score: float
    metadata: Mapping[str, Any]
    vector: Vector | None = None


@dataclass(frozen=True)
class Route:
    """How a search went, for `explain` and for the statistics of recall.

    Attributes:
        kind: "flat", "codes", "hnsw", "ivf", "panorama", "gpu", or a remote store's own word.
        first: length that candidates were taken at.
        shortlist: candidates per query that were ranked again; 0: none were.
        breadth: see `SearchParams`; 0: nothing was walked.
    """

    kind: str
    first: int
    shortlist: int = 0
    breadth: int = 0


@dataclass(frozen=True)
class RecallEstimate:
    """Share of the true neighbours that searches like this one found lately, in 0..1.

    Attributes:
        low: end of the 95 % interval.
        high: the other end.
        samples: searches that were repeated exactly; 0: every row was compared, recall is known.
    """

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, eq=False)
class Found:
    """Answer to a search.

    Attributes:
        hits: one tuple per query, best first; equal scores stand in the order of insertion.
        seq: the last write that the search saw.
        dimension: length that the scores were computed at.
        is_exact: true when every row was compared at that length, or bounds prove that none of the
            others could have been among the k (`is_proven`).
        route: how it went.
        is_proven: bounds of what was left out closed, for every query.
        recall: measured on searches that went the same way; None: none were yet.
    """

    hits: tuple[tuple[Hit, ...], ...]
    seq: int
    dimension: int
    is_exact: bool
    higher_is_better: bool
    route: Route = Route("flat", 0)
    is_proven: bool = False
    recall: RecallEstimate | None = None
