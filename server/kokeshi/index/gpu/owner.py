"""The one thread that speaks to a GPU, and the queue of those who want something of it."""

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kokeshi.errors import OverloadedError
from kokeshi.index.gpu.device import Device, Labels
from kokeshi.index.gpu.faults import GpuFullError, GpuLostError, is_out_of_memory
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.gpu.room import Room
from kokeshi.index.store import Vector

logger = logging.getLogger(__name__)

_STOP: Final = None


@dataclass(frozen=True, eq=False)
class Shard:
    """Rows that a GPU holds; they are freed when nobody holds the shard.

    Attributes:
        owner: of the GPU.
        number: of the shard, there.
        start: position of its first row.
        size: how many rows.
    """

    owner: "Owner"
    number: int
    start: int
    size: int


class Job:
    """Something asked of a GPU; `wait` for its answer.

    Attributes:
        shards: that are searched; none: `work` is done instead.
        queries: (n, length) float32.
        k: neighbours in each shard.
    """

    def __init__(
        self,
        work: Callable[[Device], None] | None = None,
        shards: Sequence[Shard] = (),
        queries: Vector | None = None,
        k: int = 0,
    ) -> None:
        self.work = work
        self.shards = tuple(shards)
        self.queries = queries
        self.k = k
        self.is_left = False  # nobody waits any more
        self.error: Exception | None = None
        self.found: list[tuple[Vector, Labels]] = []
        self.done = threading.Event()

    @property
    def size(self) -> int:
        """Queries."""
        return 0 if self.queries is None else len(self.queries)

    def end(self, error: Exception | None = None) -> None:
        """Answers."""
        self.error = error
        self.done.set()


class Owner:
    """A GPU, its thread and its queue.

    Args:
        number: FAISS's, of the GPU.
        limits: see `GpuLimits`.
        on_lost: called once when the GPU is given up, by the thread that found out.
    """

    def __init__(self, number: int, limits: GpuLimits, on_lost: Callable[[], None]) -> None:
        self.number = number
        self.limits = limits
        self.room = Room(limits.memory_bytes)
        self.lost = ""  # why the GPU was given up
        self.calls = 0  # to FAISS, that searched
        self._on_lost = on_lost
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._room_for_jobs = threading.Semaphore(limits.queue_jobs)
        self._begun_s: float | None = None
        self._losing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"kokeshi-gpu-{number}", daemon=True)
        self._thread.start()

    def hold(self, rows: Vector, metric: int) -> int:
        """Sends rows to the GPU; the number of their shard. Their room was taken before.

        Raises:
            GpuFullError: the GPU has no memory left.
            GpuLostError: it failed.
        """
        number = next(self._numbers)
        job = Job(lambda device: device.add(number, rows, metric))
        self._jobs.put(job)
        self.wait(job, self.limits.hold_timeout_s)
        return number

    def free(self, number: int, size_bytes: int) -> None:
        """Frees a shard and its room. May be called by a finaliser: takes no lock."""

        def work(device: Device) -> None:
            device.drop(number)
            self.room.give_back(size_bytes)

        self._jobs.put(Job(work))

    def search(self, shards: Sequence[Shard], queries: Vector, k: int) -> Job:
        """Asks for the nearest rows of each shard; returns at once.

        Raises:
            OverloadedError: too many searches wait.
        """
        if not self._room_for_jobs.acquire(blocking=False):
            raise OverloadedError(
                f"{self.limits.queue_jobs} searches wait for a GPU, expected no more"
            )
        job = Job(shards=shards, queries=queries, k=k)
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
        begun_s = self._begun_s
        return begun_s is not None and time.monotonic() - begun_s >= timeout_s / 2

    def _run(self) -> None:
        device: Device | None = None
        waiting: deque[Job | None] = deque()
        while True:
            batch = self._next(waiting)
            if batch is None:
                return
            self._begun_s = time.monotonic()
            try:
                if self.lost:
                    raise GpuLostError(self.lost)
                device = device or Device(self.number, self.limits.scratch_bytes)
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
            if job is not None and job.shards == first.shards and job.size <= room:
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
        k = max(job.k for job in jobs)
        for shard in jobs[0].shards:
            scores, labels = device.search(shard.number, queries, min(k, shard.size))
            self.calls += 1
            start = 0
            for job in jobs:
                stop = start + job.size
                job.found.append((scores[start:stop, : job.k], labels[start:stop, : job.k]))
                start = stop

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
