"""Rows in float16 on GPUs: every one is compared, and none is looked at twice.

The GPU knows nothing of deletes, tenants and filters. More rows are asked for than are wanted, what
may not be found is dropped here, and where too few are left the caller compares all rows itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from kokeshi.index.geometry import Doubles
from kokeshi.index.gpu.device import MOST_NEIGHBOURS, Labels
from kokeshi.index.gpu.faults import GpuLostError
from kokeshi.index.gpu.frame import Frame
from kokeshi.index.gpu.owner import Job, Owner, Shard
from kokeshi.index.kernels import Mask, Positions
from kokeshi.index.store import Vector

MARGIN: Final = 1.25  # of rows asked for, above what the share of allowed ones makes likely
NOTHING: Final = np.empty(0, np.intp)


@dataclass(frozen=True, eq=False)
class GpuForm:
    """A form whose rows GPUs hold; see `Form`.

    Attributes:
        shards: ascending, one after the other.
        frame: that their rows are seen from.
        first: see `Form`.
    """

    shards: tuple[Shard, ...]
    frame: Frame
    first: int

    kind: ClassVar[str] = "gpu"
    is_exact: ClassVar[bool] = False  # float16 may swap what is near

    @property
    def size(self) -> int:
        """See `Form`."""
        return sum(shard.size for shard in self.shards)

    @property
    def memory_bytes(self) -> int:
        """None of the host's; see `resident_bytes`."""
        return 0

    @property
    def resident_bytes(self) -> int:
        """What the rows take on GPUs."""
        return self.size * row_bytes(self.first)

    @property
    def is_lost(self) -> bool:
        """True once a GPU that holds some of the rows was given up."""
        return any(shard.owner.lost for shard in self.shards)

    def candidates(
        self, query: Doubles, width: int, breadth: int | None = None, allowed: Mask | None = None
    ) -> Positions:
        """See `Form`."""
        return self.candidates_of([query], width, breadth, allowed)[0]

    def candidates_of(
        self,
        queries: Sequence[Doubles],
        width: int,
        breadth: int | None = None,
        allowed: Mask | None = None,
    ) -> list[Positions]:
        """Candidates of several queries; none of them where a GPU is lost.

        Raises:
            OverloadedError: the GPU has more to do than it can.
        """
        found: list[Positions] = [NOTHING for _ in queries]
        seen = enumerate(map(self.frame.query, queries))
        lines = {i: line for i, line in seen if line is not None}
        if not lines or self.is_lost:
            return found
        wanted = _wanted(width, self.size, allowed)
        try:
            scores, positions = self._nearest(np.stack(list(lines.values())), wanted)
        except GpuLostError:
            return found
        for i, line, places in zip(lines, scores, positions, strict=True):
            found[i] = _best(line, places, width, allowed)
        return found

    def _nearest(self, queries: Vector, k: int) -> tuple[Vector, Labels]:
        """Scores, larger is nearer, and positions of the nearest rows of each shard; -1: none."""
        jobs = self._asked(queries, k)
        for job in jobs:
            job.shards[0].owner.wait(job)
        pairs = [pair for job in jobs for pair in zip(job.shards, job.found, strict=True)]
        scores = np.concatenate([scores for _, (scores, _) in pairs], axis=1)
        positions = np.concatenate(
            [np.where(labels < 0, -1, labels + shard.start) for shard, (_, labels) in pairs], axis=1
        )
        return (-scores if self.frame.metric == "l2" else scores), positions

    def _asked(self, queries: Vector, k: int) -> list[Job]:
        """One job per GPU; all compute at the same time."""
        of_owner: dict[Owner, list[Shard]] = {}
        for shard in self.shards:
            of_owner.setdefault(shard.owner, []).append(shard)
        return [owner.search(shards, queries, k) for owner, shards in of_owner.items()]


def row_bytes(length: int) -> int:
    """What a row of float16 takes on a GPU, its norm with it."""
    return 2 * length + 4


def _wanted(width: int, size: int, allowed: Mask | None) -> int:
    """Rows to ask for so that `width` are likely left, within FAISS's bound."""
    if allowed is not None:
        there = max(1, int(np.count_nonzero(allowed)))
        width = int(np.ceil(MARGIN * width * size / there))
    return min(width, MOST_NEIGHBOURS)


def _best(scores: Vector, positions: Labels, width: int, allowed: Mask | None) -> Positions:
    """Ascending positions of the best that may be found."""
    is_there = positions >= 0
    if allowed is not None:
        is_there &= allowed[positions]  # -1 reads the last row, and is not there
    scores, positions = scores[is_there], positions[is_there]
    if len(positions) > width:
        positions = positions[np.argpartition(-scores, width - 1)[:width]]
    return np.sort(positions).astype(np.intp, copy=False)
