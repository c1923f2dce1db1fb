"""Sends rows to GPUs, shard by shard, beside the searches that they answer meanwhile."""

import weakref
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from kokeshi.index.forms.form import BuildStoppedError, IsStopped, Progress
from kokeshi.index.forms.rows import chunks, sample
from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.faults import GpuFullError, GpuLostError
from kokeshi.index.gpu.form import GpuForm
from kokeshi.index.gpu.frame import Frame
from kokeshi.index.gpu.jobs import Shard
from kokeshi.index.gpu.owner import Owner
from kokeshi.index.gpu.room import row_bytes
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Part, offsets

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
    # among rows of unit norm both orders are one, and graphs know L2 alone
    is_l2 = geometry.metric == "cosine" and any(owner.walks for owner in owners)
    metric = "l2" if is_l2 else geometry.metric
    frame = Frame.of(metric, sample(geometry, parts, length, size, SAMPLE_ROWS))
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
        shards.append(_held(rows, start, owners, is_l2=form.frame.metric == "l2"))
    return GpuForm(tuple(shards), form.frame, form.first)


def _runs(form: GpuForm, size: int, owners: Sequence[Owner]) -> Iterator[tuple[int, int]]:
    """New rows cut into shards: all GPUs get as many, and none more than the host can stage."""
    each = -(-(size - form.size) // len(owners))
    is_graph = form.frame.metric == "l2" and any(owner.suits_graph(each) for owner in owners)
    most = max(1, owners[0].limits.shard_bytes // row_bytes(form.first, is_graph=is_graph))
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


def _held(rows: Vector, start: int, owners: Sequence[Owner], *, is_l2: bool) -> Shard:
    """Rows on the GPU that has the most room."""
    owner = max(owners, key=lambda one: one.room.size_bytes - one.room.taken_bytes)
    size, length = rows.shape
    is_wanted = is_l2 and owner.suits_graph(size)
    size_bytes = size * row_bytes(length, is_graph=is_wanted)
    if not owner.room.take(size_bytes, owner.limits.room_wait_s):
        raise GpuFullError(
            f"{size_bytes} bytes more than {owner.room.taken_bytes} do not fit into "
            f"{owner.room.size_bytes} of GPU {owner.number}"
        )
    try:
        number, is_graph = owner.hold(rows, is_l2=is_l2, is_graph=is_wanted)
    except BaseException:
        owner.room.give_back(size_bytes)
        raise
    if is_graph != is_wanted:
        owner.room.give_back(size_bytes - size * row_bytes(length))
        size_bytes = size * row_bytes(length)
    shard = Shard(owner, number, start, size, is_graph)
    weakref.finalize(shard, owner.free, number, size_bytes).atexit = False
    return shard
