"""Segments without their dead: what is mostly alive stays, what is not is copied together."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kokeshi.index.segments import Segment, joined
from kokeshi.index.tuning import Tuning

# A segment is left alone while it has at most this share of the dead that set off a compaction
# (so that what is left over cannot set off the next one), and is at least this full.
KEPT_SHARE: Final = 0.5
KEPT_FILL: Final = 0.5


def compacted(
    segments: Sequence[Segment], tuning: Tuning, check_stopped: Callable[[], None]
) -> list[Segment]:
    """Segments with the same live rows in the same order, and few dead ones.

    Args:
        segments: sealed ones.
        tuning: how large segments are, and how many dead are put up with.
        check_stopped: called between two copies; raises to stop.
    """
    return list(_compacted(segments, tuning, check_stopped))


def _compacted(
    segments: Sequence[Segment], tuning: Tuning, check_stopped: Callable[[], None]
) -> Iterator[Segment]:
    waiting: list[Segment] = []
    rows = 0
    for segment in segments:
        check_stopped()
        live = len(segment) - segment.dead
        if waiting and (_is_kept(segment, tuning) or rows + live > tuning.segment_rows):
            yield joined(waiting)
            waiting, rows = [], 0
        if _is_kept(segment, tuning):
            yield segment
        elif live:
            waiting.append(segment.compacted())
            rows += live
    if waiting:
        yield joined(waiting)


def _is_kept(segment: Segment, tuning: Tuning) -> bool:
    return (
        segment.dead <= KEPT_SHARE * tuning.dead_share * len(segment)
        and len(segment) >= KEPT_FILL * tuning.segment_rows
    )
