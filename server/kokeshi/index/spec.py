"""What a collection is to hold and how, as it was said when it was made."""

from dataclasses import dataclass
from typing import Literal

from kokeshi import contract

Metric = contract.Metric
IndexKind = Literal["auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"]
Durability = Literal["fsync", "os"]


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection holds; it never changes after the collection was made.

    Attributes:
        space: fingerprint of the embedding space, 16 hexadecimal digits.
        model: name of the model that made the space; informative.
        dimensions: trained prefix lengths, ascending, the full one last; () is the full one alone.
        metric: "cosine" normalises; "ip" is the inner product of vectors as given; "hyperbolic" is
            the distance in the Poincare ball of `curvature`, whose vectors lie inside it.
        index: "auto" chooses by size, dimensions and metric; the others pin: "flat" compares every
            row in float32, "codes" scans int8 prefixes and ranks a shortlist again (under "l2",
            which has no codes, float32 prefixes: that is told as "flat"), "hnsw" walks a graph over
            a prefix, "ivf" scans lists of RaBitQ codes, "panorama" is exact and gives up rows
            early, "gpu" compares every row in float16 on a GPU where there is one, or walks graphs
            there.
        durability: "fsync" acknowledges a write when it is on the disk, "os" when the operating
            system has it (safe against the process's death, not against power loss).
        graph_dimension: trained prefix that an HNSW graph is built on; None chooses.
        curvature: c of a ball of curvature -c, above 0; of "hyperbolic" only.
    """

    name: str
    space: str
    dim: int
    model: str = ""
    dimensions: tuple[int, ...] = ()
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    durability: Durability = "fsync"
    graph_dimension: int | None = None
    curvature: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        """True for similarities, false for distances."""
        return self.metric in {"cosine", "ip"}

    @property
    def trained(self) -> tuple[int, ...]:
        """Lengths that may be searched, ascending, the full one last."""
        return self.dimensions or (self.dim,)
