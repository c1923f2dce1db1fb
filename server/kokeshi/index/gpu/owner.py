"""The one thread that speaks to a GPU, and the queue of those who want something of it."""

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from kokeshi.errors import OverloadedError
from kokeshi.index.gpu.cagra import FIRST_DEGREE, Labels
from kokeshi.index.gpu.device import Device, Gpu
from kokeshi.index.gpu.faults import GpuFullError, GpuLostError, is_out_of_memory
from kokeshi.index.gpu.jobs import Job, Selected, Shard
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.gpu.room import Room
from kokeshi.index.items import Vector

logger = logging.getLogger(__name__)

_STOP: Final = None


class Owner:
    """A GPU, its thread and its queue.

    Args:
        gpu: see `Gpu`.
        limits: see `GpuLimits`.
        on_lost: called once when the GPU is given up, by the thread that found out.
    """

    def __init__(self, gpu: Gpu, limits: GpuLimits, on_lost: Callable[[], None]) -> None:
        self.gpu = gpu
        self.number = gpu.number
        self.limits = limits
        self.room = Room(limits.memory_bytes)
        self.lost = ""  # why the GPU was given up
        self.calls = 0  # to FAISS, that searched
        self._on_lost = on_lost
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._room_for_jobs = threading.Semaphore(limits.queue_jobs)
        self._begun_s: float | None = None
        self._may_take_s = limits.timeout_s  # what it is at
        self._losing = threading.Lock()
        self._thread = threading.Thread(
            target=self._run, name=f"kokeshi-gpu-{gpu.number}", daemon=True
        )
        self._thread.start()

    @property
    def walks(self) -> bool:
        """True where some of the rows that it holds may become graphs."""
        return self.gpu.walks and self.limits.graph_rows > 0

    def suits_graph(self, rows: int) -> bool:
        """Tells whether so many rows should become a graph: a row has more others than links."""
        return self.walks and rows >= max(self.limits.graph_rows, FIRST_DEGREE + 1)

    def hold(self, rows: Vector, *, is_l2: bool, is_graph: bool = False) -> tuple[int, bool]:
        """Sends rows to the GPU; the number of their shard, and whether they became a graph.

        Their room was taken before.

        Raises:
            GpuFullError: the GPU has no memory left.
            GpuLostError: it failed.
        """
        number, became = next(self._numbers), []

        def work(device: Device) -> None:
            became.append(device.add(number, rows, is_l2=is_l2, is_graph=is_graph))

        job = Job(work)
        self._jobs.put(job)
        self.wait(job, self.limits.hold_timeout_s)
        return number, became[0]

    def free(self, number: int, size_bytes: int) -> None:
        """Frees a shard and its room. May be called by a finaliser: takes no lock."""

        def work(device: Device) -> None:
            device.drop(number)
            self.room.give_back(size_bytes)

        self._jobs.put(Job(work))

    def search(
        self,
        shards: Sequence[Shard],
        queries: Vector,
        k: int,
        breadth: int = 0,
        selected: Sequence[Selected] | None = None,
    ) -> Job:
        """Asks for the nearest rows of each shard, see `Job`; returns at once.

        Raises:
            OverloadedError: too many searches wait.
        """
        if not self._room_for_jobs.acquire(blocking=False):
            raise OverloadedError(
                f"{self.limits.queue_jobs} searches wait for a GPU, expected no more"
            )
        job = Job(None, shards, queries, k, breadth, selected)
        self._jobs.put(job)
        return job

    def wait(self, job: Job, timeout_s: float | None = None) -> None:
        """Waits until a job is done; None: as long as a search may.

        Raises:
            GpuFullError: the GPU has too little memory for it.
            GpuLostError: the GPU failed, or hangs.
            OverloadedError: others kept the GPU busy all the time.
        """
        timeout_s = timeout_s or self.limits.timeout_s
        if not job.done.wait(timeout_s):
            job.is_left = True
            if not self._is_hanging(timeout_s):
                raise OverloadedError(f"waited {timeout_s:g} s for a GPU, expected its turn")
            self.lose("it does not answer")
            raise GpuLostError(self.lost)
        if job.error is not None:
            raise job.error.with_traceback(None)

    def lose(self, reason: str) -> None:
        """Gives the GPU up, for good."""
        with self._losing:
            if self.lost:
                return
            self.lost = reason
        logger.error("GPU %d is given up, its collections go to the CPU: %s", self.number, reason)
        self._on_lost()

    def close(self) -> None:
        """Ends the thread, unless the GPU holds it."""
        self._jobs.put(_STOP)
        self._thread.join(0.0 if self.lost else self.limits.timeout_s)

    def _is_hanging(self, timeout_s: float) -> bool:
        begun_s, may_take_s = self._begun_s, max(timeout_s, self._may_take_s)
        return begun_s is not None and time.monotonic() - begun_s >= may_take_s / 2

    def _run(self) -> None:
        device: Device | None = None
        waiting: deque[Job | None] = deque()
        while True:
            batch = self._next(waiting)
            if batch is None:
                return
            is_search = batch[0].work is None
            self._may_take_s = self.limits.timeout_s if is_search else self.limits.hold_timeout_s
            self._begun_s = time.monotonic()
            try:
                if self.lost:
                    raise GpuLostError(self.lost)
                device = device or Device(self.gpu, self.limits.scratch_bytes)
                self._do(device, batch)
            except Exception as error:
                self._fail(batch, error)
            self._begun_s = None
            for job in batch:
                if job.shards:
                    self._room_for_jobs.release()
            del batch  # what it holds may be a shard's last holder

    def _next(self, waiting: deque[Job | None]) -> list[Job] | None:
        """The job that has waited longest, with all searches of the same shards; None: stop."""
        if not waiting:
            waiting.append(self._jobs.get())
        while not self._jobs.empty():
            waiting.append(self._jobs.get())
        first = waiting.popleft()
        if first is None:
            return None
        batch, kept, room = [first], [], self.limits.queries_per_call - first.size
        for job in waiting if first.shards else ():
            if job is not None and job.is_like(first) and job.size <= room:
                batch.append(job)
                room -= job.size
            else:
                kept.append(job)
        if first.shards:
            waiting.clear()
            waiting.extend(kept)
        return batch

    def _do(self, device: Device, batch: list[Job]) -> None:
        if batch[0].work is not None:
            batch[0].work(device)
            batch[0].end()
            return
        wanted = [job for job in batch if not job.is_left]
        if wanted:
            self._search(device, wanted)
        for job in batch:
            job.end()

    def _search(self, device: Device, jobs: list[Job]) -> None:
        queries = np.concatenate([job.queries for job in jobs if job.queries is not None])
        k, breadth = max(job.k for job in jobs), max(job.breadth for job in jobs)
        shards = jobs[0].shards
        selected: Sequence[Selected | None] = jobs[0].selected or [None] * len(shards)
        for shard, chosen in zip(shards, selected, strict=True):
            scores, labels = self._nearest(device, shard, queries, k, breadth, chosen)
            start = 0
            for job in jobs:
                stop = start + job.size
                job.found.append((scores[start:stop, : job.k], labels[start:stop, : job.k]))
                start = stop

    def _nearest(
        self,
        device: Device,
        shard: Shard,
        queries: Vector,
        k: int,
        breadth: int,
        chosen: Selected | None,
    ) -> tuple[Vector, Labels]:
        """No more than there are: what cuVS answers beyond them is not said anywhere."""
        k = min(k, shard.most if chosen is None else min(chosen.rows, shard.most))
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        self.calls += 1
        bits = None if chosen is None else chosen.bits
        return device.search(shard.number, queries, k, bits, breadth)

    def _fail(self, batch: list[Job], error: Exception) -> None:
        told: Exception = error
        is_build = batch[0].work is not None
        if isinstance(error, GpuLostError):
            pass
        elif is_build and is_out_of_memory(error):
            told = GpuFullError("the GPU has no memory left")
        else:
            self.lose(_said(error))
            told = GpuLostError(self.lost)
        for job in batch:
            job.end(told)


def _said(error: Exception) -> str:
    if is_out_of_memory(error):
        return "its memory does not do for one query"
    return f"{type(error).__name__}: {error}"[:500]
