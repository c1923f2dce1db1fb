"""What is asked of a GPU."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kokeshi.index.gpu.cagra import MOST_WALKED, Labels
from kokeshi.index.gpu.device import MOST_NEIGHBOURS, Bits, Device
from kokeshi.index.items import Vector

if TYPE_CHECKING:
    from kokeshi.index.gpu.owner import Owner


@dataclass(frozen=True, eq=False)
class Shard:
    """Rows that a GPU holds; they are freed when nobody holds the shard.

    Attributes:
        owner: of the GPU.
        number: of the shard, there.
        start: position of its first row.
        size: how many rows.
        is_graph: they are walked, not compared one by one.
    """

    owner: "Owner"
    number: int
    start: int
    size: int
    is_graph: bool = False

    @property
    def most(self) -> int:
        """Neighbours that one query can ask for."""
        return min(self.size, MOST_WALKED if self.is_graph else MOST_NEIGHBOURS)


class Selected(NamedTuple):
    """Rows of a shard that may be found: a bit for each row, and how many there are."""

    bits: Bits
    rows: int


class Job:
    """Something asked of a GPU; `wait` for its answer.

    Attributes:
        shards: that are searched; none: `work` is done instead.
        queries: (n, length) float32.
        k: neighbours in each shard, or as many as it can answer.
        breadth: candidates of a walk through a graph, or as many as k.
        selected: of each shard; None: all rows may be found.
    """

    def __init__(
        self,
        work: Callable[[Device], None] | None = None,
        shards: Sequence[Shard] = (),
        queries: Vector | None = None,
        k: int = 0,
        breadth: int = 0,
        selected: Sequence[Selected] | None = None,
    ) -> None:
        self.work = work
        self.shards = tuple(shards)
        self.queries = queries
        self.k = k
        self.breadth = breadth
        self.selected = selected
        self.is_left = False  # nobody waits any more
        self.error: Exception | None = None
        self.found: list[tuple[Vector, Labels]] = []
        self.done = threading.Event()

    @property
    def size(self) -> int:
        """Queries."""
        return 0 if self.queries is None else len(self.queries)

    def is_like(self, other: "Job") -> bool:
        """Tells whether both can go as one call: they search the same rows."""
        return self.shards == other.shards and self.selected is other.selected

    def end(self, error: Exception | None = None) -> None:
        """Answers."""
        self.error = error
        self.done.set()
