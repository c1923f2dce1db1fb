"""What searches see: segments of rows and an index over the first of them. Nothing in it changes.

The writer and the builder publish a new snapshot for every change; a search keeps the one that it
began with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kokeshi.index.filters import Filter
from kokeshi.index.forms import Form
from kokeshi.index.geometry import Rows
from kokeshi.index.kernels import Part
from kokeshi.index.segments import Mask, Positions, Segment

Masks = list[Mask | None]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One state of a collection, after the write `seq`.

    A row's position is its place in all segments, one after the other.

    Attributes:
        segments: sealed ones, then the one that grows.
        form: an index over the first `form.size` positions; None: every search scans.
        form_seq: the last write that the form covers.
    """

    seq: int
    segments: tuple[Segment, ...]
    form: Form | None = None
    form_seq: int = 0

    @cached_property
    def offsets(self) -> Positions:
        """(segments + 1,) position of each segment's first row, then the number of all rows."""
        sizes = [len(segment) for segment in self.segments]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.intp)])

    @property
    def rows(self) -> int:
        """Rows that are held, dead ones too."""
        return int(self.offsets[-1])

    @cached_property
    def dead(self) -> int:
        """Rows that are held, but deleted or replaced."""
        return sum(segment.dead for segment in self.segments)

    @property
    def count(self) -> int:
        """Rows that live."""
        return self.rows - self.dead

    @property
    def sealed(self) -> tuple[Segment, ...]:
        """All segments but the one that grows."""
        return self.segments[:-1]

    @property
    def tail(self) -> Segment:
        """The segment that grows."""
        return self.segments[-1]

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Tenants that have rows which live."""
        return frozenset().union(*(segment.tenants for segment in self.segments))

    @cached_property
    def live(self) -> Masks:
        """Of each segment."""
        return [segment.live for segment in self.segments]

    def without(self, rows: Rows) -> "Snapshot":
        """The same with some rows dead; rows that it does not hold are ignored."""
        if not len(rows):
            return self
        return replace(self, segments=tuple(segment.without(rows) for segment in self.segments))

    def allowed(self, tenant: str, wanted: Filter | None) -> Masks:
        """Rows of each segment that live, belong to a tenant and fit a filter; None: all do."""
        return [_allowed(segment, tenant, wanted) for segment in self.segments]

    def parts(self, masks: Masks, first: int = 0) -> list[Part]:
        """What the kernels scan: every row from a position on."""
        if not first and _all_allowed(masks):
            return self._whole_parts
        return self._parts(masks, first)

    @cached_property
    def _whole_parts(self) -> list[Part]:
        return self._parts([None for _ in self.segments], 0)

    def _parts(self, masks: Masks, first: int) -> list[Part]:
        parts = []
        for segment, mask, start in zip(self.segments, masks, self.offsets[:-1], strict=True):
            skipped = max(0, first - int(start))
            if skipped < len(segment):
                chosen = slice(skipped, len(segment)) if skipped else None
                parts.append(segment.part(mask, chosen))
        return parts

    def mask_of(self, masks: Masks, size: int) -> Mask | None:
        """(size,) bool for the first positions together; None: all are allowed."""
        return None if _all_allowed(masks) else self._whole(masks)[:size]

    def counted(self, masks: Masks) -> int:
        """Rows that are allowed."""
        return sum(
            len(segment) if mask is None else int(np.count_nonzero(mask))
            for segment, mask in zip(self.segments, masks, strict=True)
        )

    def dead_rows(self) -> Rows:
        """Numbers of the dead rows."""
        dead = [segment.dead_rows() for segment in self.segments]
        return np.concatenate([np.empty(0, np.int64), *dead])

    def _whole(self, masks: Masks) -> Mask:
        return np.concatenate(
            [
                np.ones(len(segment), np.bool_) if mask is None else mask
                for segment, mask in zip(self.segments, masks, strict=True)
            ]
        )


def _all_allowed(masks: Sequence[Mask | None]) -> bool:
    return all(mask is None for mask in masks)


def _allowed(segment: Segment, tenant: str, wanted: Filter | None) -> Mask | None:
    masks = [segment.live, segment.columns.tenant_mask(tenant)]
    if wanted is not None:
        masks.append(segment.columns.mask(wanted))
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    return given[0] if len(given) == 1 else np.logical_and.reduce(given)
