"""Sends rows to GPUs, shard by shard, beside the searches that they answer meanwhile."""

import weakref
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from kokeshi.index.forms.form import BuildStoppedError, IsStopped, Progress
from kokeshi.index.forms.rows import chunks, sample
from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.faults import GpuFullError, GpuLostError
from kokeshi.index.gpu.form import GpuForm, row_bytes
from kokeshi.index.gpu.frame import Frame
from kokeshi.index.gpu.owner import Owner, Shard
from kokeshi.index.kernels import Part, offsets
from kokeshi.index.kernels.engine import metric_of
from kokeshi.index.store import Vector

SAMPLE_ROWS: Final = 65_536  # that show the mean and the range


def fresh(
    geometry: Geometry,
    parts: Sequence[Part],
    length: int,
    owners: Sequence[Owner],
    is_stopped: IsStopped,
    progress: Progress,
) -> GpuForm:
    """A form over all rows of the parts, split over the GPUs; see `Gpus.build`.

    Raises:
        BuildStoppedError: `is_stopped` said so.
        GpuFullError: it does not fit.
        GpuLostError: a GPU failed.
        UnfitRowsError: float16 cannot hold a row.
    """
    size = offsets(parts)[-1]
    frame = Frame.of(geometry.metric, sample(geometry, parts, length, size, SAMPLE_ROWS))
    return extended(GpuForm((), frame, length), geometry, parts, owners, is_stopped, progress)


def extended(
    form: GpuForm,
    geometry: Geometry,
    parts: Sequence[Part],
    owners: Sequence[Owner],
    is_stopped: IsStopped,
    progress: Progress,
) -> GpuForm:
    """A form that shares the shards of another and has more for the rows that came after it.

    Raises:
        BuildStoppedError: see `fresh`; the others too.
    """
    if not owners:
        raise GpuLostError("no GPU is left")
    size = offsets(parts)[-1]
    shards = list(form.shards)
    for start, stop in _runs(form, size, owners):

        def tell(share: float, start: int = start, stop: int = stop) -> None:
            progress((start + share * (stop - start)) / size)

        rows = _staged(form, geometry, parts, start, stop, is_stopped, tell)
        shards.append(_held(rows, start, owners, metric_of(geometry)))
    return GpuForm(tuple(shards), form.frame, form.first)


def _runs(form: GpuForm, size: int, owners: Sequence[Owner]) -> Iterator[tuple[int, int]]:
    """New rows cut into shards: all GPUs get as many, and none more than the host can stage."""
    each = -(-(size - form.size) // len(owners))
    most = max(1, owners[0].limits.shard_bytes // row_bytes(form.first))
    step = max(1, min(each, most))
    for start in range(form.size, size, step):
        yield start, min(start + step, size)


def _staged(
    form: GpuForm,
    geometry: Geometry,
    parts: Sequence[Part],
    start: int,
    stop: int,
    is_stopped: IsStopped,
    progress: Progress,
) -> Vector:
    """Rows (stop - start, length) as they are sent."""
    staged = np.empty((stop - start, form.first), np.float32)
    filled = 0
    for chunk in chunks(geometry, parts, form.first, start, stop):
        if is_stopped():
            raise BuildStoppedError
        staged[filled : filled + len(chunk)] = chunk
        form.frame.rows(staged[filled : filled + len(chunk)])
        filled += len(chunk)
        progress(filled / len(staged))
    return staged


def _held(rows: Vector, start: int, owners: Sequence[Owner], metric: int) -> Shard:
    """Rows on the GPU that has the most room."""
    owner = max(owners, key=lambda one: one.room.size_bytes - one.room.taken_bytes)
    size_bytes = len(rows) * row_bytes(rows.shape[1])
    if not owner.room.take(size_bytes, owner.limits.room_wait_s):
        raise GpuFullError(
            f"{size_bytes} bytes more than {owner.room.taken_bytes} do not fit into "
            f"{owner.room.size_bytes} of GPU {owner.number}"
        )
    try:
        number = owner.hold(rows, metric)
    except BaseException:
        owner.room.give_back(size_bytes)
        raise
    shard = Shard(owner, number, start, len(rows))
    weakref.finalize(shard, owner.free, number, size_bytes).atexit = False
    return shard
