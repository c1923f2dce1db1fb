"""A collection in memory: its published snapshot, and how writes and new indexes reach it."""

import contextlib
import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from kokeshi import metrics
from kokeshi.errors import UnavailableError
from kokeshi.index.filters import Columns, Record
from kokeshi.index.forms import Form
from kokeshi.index.geometry import Block, Geometry, Rows
from kokeshi.index.info import CollectionInfo
from kokeshi.index.kernels import Codes, encode
from kokeshi.index.plan import kind_of
from kokeshi.index.rows import DamagedRowError
from kokeshi.index.segments import Grower, Segment, joined
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.tuning import Tuning
from kokeshi.index.wishes import codes_width

logger = logging.getLogger(__name__)


class Collection:
    """One collection. `number` is its key in the database; numbers never come back."""

    def __init__(self, number: int, spec: CollectionSpec, tuning: Tuning, seq: int = 0) -> None:
        self.number = number
        self.spec = spec
        self.tuning = tuning
        self.geometry = Geometry.of(spec)
        self.width = codes_width(spec)
        self.cached_seq: int | None = None
        self.quarantine: str | None = None
        self.progress: float | None = None
        self.is_dropped = False
        self._grower = self._new_grower(seq)
        self._snapshot = Snapshot(seq, (self._grower.segment,))
        # weak: whoever held an old snapshot would hold its form, and that its place on a GPU
        self._kinds: weakref.WeakKeyDictionary[Snapshot, str] = weakref.WeakKeyDictionary()
        self._changing = threading.Condition()
        metrics.COLLECTION_QUARANTINED.labels(spec.name).set(0)

    @property
    def snapshot(self) -> Snapshot:
        """The newest published state."""
        return self._snapshot

    @property
    def sealed_seq(self) -> int:
        """The last write whose rows are all sealed."""
        return sealed_seq(self._snapshot)

    def check_serving(self) -> None:
        """Refuses a collection in quarantine."""
        if self.quarantine:
            raise UnavailableError(
                f"collection {self.spec.name!r} is in quarantine: {self.quarantine}"
            )

    def isolate(self, reason: str) -> None:
        """Puts the collection in quarantine: what it holds cannot be trusted."""
        logger.error("collection %r is in quarantine: %s", self.spec.name, reason)
        self.quarantine = reason
        metrics.COLLECTION_QUARANTINED.labels(self.spec.name).set(1)

    def refuse(self, reason: str) -> NoReturn:
        """Puts the collection in quarantine, and refuses the call that found out why."""
        self.isolate(reason)
        self.check_serving()
        raise AssertionError("a collection in quarantine is never served")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Puts the collection in quarantine when a row that is read turns out damaged."""
        try:
            yield
        except DamagedRowError as error:
            self.refuse(str(error))

    def wait_for(self, seq: int, timeout_s: float) -> None:
        """Waits until searches see a write.

        Raises:
            UnavailableError: time ran out.
        """
        if self._snapshot.seq >= seq:
            return
        with self._changing:
            if not self._changing.wait_for(lambda: self._snapshot.seq >= seq, timeout_s):
                raise UnavailableError(
                    f"collection {self.spec.name!r} is at write {self._snapshot.seq}, "
                    f"asked for {seq}"
                )

    def encoded(self, block: Block) -> Codes | None:
        """Codes of rows, where the collection keeps any."""
        return None if self.width is None else encode(self.geometry, block, self.width)

    def apply(
        self,
        seq: int,
        block: Block | None,
        codes: Codes | None,
        said: Columns | Sequence[Record],
        removed: Rows,
    ) -> None:
        """Publishes a committed write.

        Args:
            seq: of the write.
            block: new rows; None: there are none.
            codes: what `encoded` made of them.
            said: what `Grower.append` wants with them.
            removed: rows that are gone.
        """
        with self._changing:
            now = self._without(removed)
            if block is not None and len(block):
                now = self._with(now, block, codes, said, seq)
            self._snapshot = replace(now, seq=seq)
            self._changing.notify_all()

    def adopt_form(self, form: Form | None, built_from: Snapshot) -> None:
        """Publishes an index over the sealed rows of an earlier snapshot."""
        with self._changing:
            self._snapshot = replace(self._snapshot, form=form, form_seq=sealed_seq(built_from))

    def leave_form(self, form: Form) -> None:
        """Searches without an index from now on, where it is this one."""
        with self._changing:
            if self._snapshot.form is form:
                self._snapshot = replace(self._snapshot, form=None, form_seq=0)

    def seal(self) -> Snapshot:
        """Seals the segment that grows, where it has rows; the snapshot after that."""
        with self._changing:
            now = self._snapshot
            if len(now.tail):
                self._grower = self._new_grower(now.seq)
                self._snapshot = replace(now, segments=(*now.segments, self._grower.segment))
            return self._snapshot

    def seal_together(self) -> None:
        """Seals the segment that grows as one with those before it that leave it room.

        Dead rows stay, so that positions do. Many short lives then leave few segments behind.
        """
        with self._changing:
            now = self.seal()
            rows = np.cumsum([len(segment) for segment in reversed(now.sealed)])
            few = max(1, int(np.searchsorted(rows, self.tuning.segment_rows, side="right")))
            if few > 1:
                kept, together = now.sealed[:-few], joined(now.sealed[-few:])
                self._snapshot = replace(now, segments=(*kept, together, now.tail))

    def adopt_compacted(
        self, fresh: Sequence[Segment], form: Form | None, built_from: Snapshot
    ) -> None:
        """Publishes segments in the place of those that an earlier snapshot had sealed.

        Args:
            fresh: sealed segments with the rows that lived then.
            form: an index over exactly these; None: there is none.
            built_from: the earlier snapshot.
        """
        form_seq = sealed_seq(built_from) if form else 0
        with self._changing:
            now = self._snapshot
            gone = now.dead_rows()
            # what was sealed since stands after what was sealed then
            since = now.segments[len(built_from.sealed) :]
            sealed = [one.without(gone) for one in fresh]
            self._snapshot = Snapshot(now.seq, (*sealed, *since), form, form_seq)

    def adopt_file(self, segment: Segment, written: Segment) -> None:
        """Puts a segment whose vectors are mapped in the place of a sealed one."""
        with self._changing:
            segments = tuple(
                written.masked(one.live) if one.block is segment.block else one
                for one in self._snapshot.segments
            )
            self._snapshot = replace(self._snapshot, segments=segments)

    def restore(self, segments: Sequence[Segment], form: Form | None, form_seq: int) -> None:
        """Publishes sealed segments and an index from files; the collection was empty."""
        with self._changing:
            self._snapshot = replace(
                self._snapshot,
                segments=(*filter(len, segments), self._grower.segment),
                form=form,
                form_seq=form_seq,
            )

    def info(self) -> CollectionInfo:
        """See `CollectionInfo`."""
        now = self._snapshot
        form = now.form
        return CollectionInfo(
            spec=self.spec,
            count=now.count,
            seq=now.seq,
            kind=self._kind_of(now),
            covered_seq=now.form_seq if form else sealed_seq(now),
            tail=now.rows - form.size if form else len(now.tail),
            dead=now.dead,
            memory_bytes=sum(one.memory_bytes for one in now.segments)
            + (form.memory_bytes if form else 0),
            cached_seq=self.cached_seq,
            quarantine=self.quarantine,
            mapped_bytes=sum(one.mapped_bytes for one in now.segments),
            progress=self.progress,
            tenants=len(now.tenants),
        )

    def _kind_of(self, now: Snapshot) -> str:
        """See `CollectionInfo.kind`; kept while the snapshot lives: every search asks."""
        kind = self._kinds.get(now)
        if kind is None:
            kind = self._kinds[now] = kind_of(self.spec, now, self.tuning)
        return kind

    def _without(self, removed: Rows) -> Snapshot:
        now = self._snapshot
        if not len(removed):
            return now
        sealed = tuple(segment.without(removed) for segment in now.sealed)
        return replace(now, segments=(*sealed, self._grower.delete(removed)))

    def _with(
        self,
        now: Snapshot,
        block: Block,
        codes: Codes | None,
        said: Columns | Sequence[Record],
        seq: int,
    ) -> Snapshot:
        """Appends; seals the last segment where it is full, or would not hold the rows."""
        sealed = now.sealed
        if len(self._grower.segment) and self._overflows(len(block)):
            sealed, self._grower = (*sealed, self._grower.segment), self._new_grower(now.seq)
        segment = self._grower.append(block, codes, said, seq)
        if len(segment) >= self.tuning.segment_rows:
            sealed, self._grower = (*sealed, segment), self._new_grower(seq)
        return replace(now, segments=(*sealed, self._grower.segment))

    def _overflows(self, rows: int) -> bool:
        return len(self._grower.segment) + rows > self.tuning.segment_rows

    def _new_grower(self, seq: int) -> Grower:
        return Grower(self.geometry, self.width, self.tuning.segment_rows, seq)


def sealed_seq(snapshot: Snapshot) -> int:
    """The last write whose rows are all sealed."""
    return snapshot.sealed[-1].seq if snapshot.sealed else 0
