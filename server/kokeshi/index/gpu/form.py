"""Rows in float16 on GPUs: every one is compared, or graphs of them are walked.

No GPU is trusted with deletes, tenants and filters. More rows are asked for than are wanted, or
where FAISS has cuVS the GPU is told which may be found; what may not is dropped here either way,
and where too few are left the caller compares all rows itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Final

import numpy as np

from kokeshi.index.geometry import Doubles
from kokeshi.index.gpu.cagra import Labels
from kokeshi.index.gpu.faults import GpuLostError
from kokeshi.index.gpu.frame import Frame
from kokeshi.index.gpu.jobs import Job, Selected, Shard
from kokeshi.index.gpu.owner import Owner
from kokeshi.index.gpu.room import row_bytes
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Mask, Positions
from kokeshi.index.kernels.engine import bits

MARGIN: Final = 1.25  # of rows asked for, above what the share of allowed ones makes likely
# A mask that leaves this share of the rows is not told to a GPU: searches under different masks are
# calls of their own, and deletes alone make a mask.
SELECTED_SHARE: Final = 0.5
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
        return sum(
            shard.size * row_bytes(self.first, is_graph=shard.is_graph) for shard in self.shards
        )

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
        try:
            asked = self._asked(np.stack(list(lines.values())), width, breadth or 0, allowed)
            scores, positions = self._nearest(asked)
        except GpuLostError:
            return found
        for i, line, places in zip(lines, scores, positions, strict=True):
            found[i] = _best(line, places, width, allowed)
        return found

    def _nearest(self, jobs: Sequence[Job]) -> tuple[Vector, Labels]:
        """Scores, larger is nearer, and positions of the nearest rows of each shard; -1: none."""
        for job in jobs:
            job.shards[0].owner.wait(job)
        pairs = [pair for job in jobs for pair in zip(job.shards, job.found, strict=True)]
        scores = np.concatenate([scores for _, (scores, _) in pairs], axis=1)
        positions = np.concatenate(
            [_positions(shard, labels) for shard, (_, labels) in pairs], axis=1
        )
        return (-scores if self.frame.metric == "l2" else scores), positions

    def _asked(self, queries: Vector, width: int, breadth: int, allowed: Mask | None) -> list[Job]:
        """One job per GPU; all compute at the same time.

        A GPU that is not told what may be found is asked for so many more that `width` are likely
        left.
        """
        of_owner: dict[Owner, list[Shard]] = {}
        for shard in self.shards:
            of_owner.setdefault(shard.owner, []).append(shard)
        there = self.size if allowed is None else int(np.count_nonzero(allowed))
        more = width if allowed is None else ceil(MARGIN * width * self.size / max(1, there))
        jobs = []
        for owner, shards in of_owner.items():
            if allowed is None or not owner.gpu.selects or there >= SELECTED_SHARE * self.size:
                jobs.append(owner.search(shards, queries, more, breadth))
            else:
                selected = [_selected(shard, allowed) for shard in shards]
                jobs.append(owner.search(shards, queries, width, breadth, selected))
        return jobs


def _selected(shard: Shard, allowed: Mask) -> Selected:
    own = allowed[shard.start : shard.start + shard.size]
    return Selected(bits(own), int(np.count_nonzero(own)))


def _positions(shard: Shard, labels: Labels) -> Labels:
    """Positions of the rows of a shard; -1 for a label that no row has."""
    return np.where((labels >= 0) & (labels < shard.size), labels + shard.start, -1)


def _best(scores: Vector, positions: Labels, width: int, allowed: Mask | None) -> Positions:
    """Ascending positions of the best that may be found."""
    is_there = positions >= 0
    if allowed is not None:
        is_there &= allowed[positions]  # -1 reads the last row, and is not there
    scores, positions = scores[is_there], positions[is_there]
    if len(positions) > width:
        positions = positions[np.argpartition(-scores, width - 1)[:width]]
    # several blocks of a GPU walk one graph, and two may come upon the same row
    return np.unique(positions).astype(np.intp, copy=False)
