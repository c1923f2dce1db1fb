"""Threads that decode and resize, so that the event loop does not.

libjpeg-turbo, Pillow's decoders and its resize release the interpreter lock.
"""

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Final

from kokeshi.contract import ImageInput
from kokeshi.errors import InvalidImageError, OverloadedError, TooLargeError, UnavailableError
from kokeshi.images.limits import DEFAULT_LIMITS, Limits
from kokeshi.images.preprocessing import Prepared, preprocess

_FIRST_GUESS_S: Final = 0.02  # per picture, until some are measured
_SMOOTHING: Final = 0.1  # weight of the newest picture in the mean
_SHORTEST_RETRY_S: Final = 0.05


def usable_cpus() -> int:
    """Number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ImagePool:
    """A pool of threads with a bounded queue. Use it from one event loop.

    Args:
        workers: number of threads; one per usable CPU by default.
        max_pending: number of pictures that may wait for a thread.
        limits: what is refused.
        reduced: whether large JPEGs may be decoded at a reduced size.
    """

    def __init__(
        self,
        workers: int | None = None,
        max_pending: int = 256,
        limits: Limits = DEFAULT_LIMITS,
        *,
        reduced: bool = True,
    ) -> None:
        self.workers = workers or usable_cpus()
        self.max_pending = max_pending
        self._limits = limits
        self._reduced = reduced
        self._executor = ThreadPoolExecutor(self.workers, thread_name_prefix="kokeshi-image")
        self._closed = False
        self._lock = threading.Lock()  # guards the two below, which the threads write
        self._waiting = 0
        self._mean_s = _FIRST_GUESS_S

    @property
    def queue_depth(self) -> int:
        """Number of pictures that wait for a thread."""
        return self._waiting

    async def prepare(self, data: bytes, contract: ImageInput) -> Prepared:
        """Decode and resize one picture.

        If the caller is cancelled while the picture waits, it is not decoded.

        Raises:
            InvalidImageError: not an image that is accepted.
            OverloadedError: `max_pending` pictures wait already.
            UnavailableError: the pool was closed.
        """
        (future,) = self._submit([(data, contract)])
        return await asyncio.wrap_future(future)

    async def prepare_many(self, items: Sequence[tuple[bytes, ImageInput]]) -> list[Prepared]:
        """Decode and resize a batch: all of it, or none.

        The first bad picture ends the batch, and its message says which one it is, counted from 0.

        Raises:
            InvalidImageError: one is not an image that is accepted.
            TooLargeError: the batch could never wait in this queue.
            OverloadedError: the queue has no room for it now.
            UnavailableError: the pool was closed.
        """
        futures = self._submit(items)
        try:
            return await asyncio.gather(*(_numbered(*pair) for pair in enumerate(futures)))
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Drop what waits, finish what runs, end the threads."""
        self._closed = True
        self._executor.shutdown(cancel_futures=True)

    def _submit(self, items: Sequence[tuple[bytes, ImageInput]]) -> list[Future[Prepared]]:
        self._admit(len(items))
        futures = []
        for data, contract in items:
            future = self._executor.submit(self._work, data, contract)
            future.add_done_callback(self._forget_if_cancelled)
            futures.append(future)
        return futures

    def _admit(self, count: int) -> None:
        if self._closed:
            raise UnavailableError("the server is shutting down")
        if count > self.max_pending:
            raise TooLargeError(
                f"{count} images came in one request; at most {self.max_pending} can wait"
            )
        with self._lock:
            if self._waiting + count > self.max_pending:
                raise OverloadedError(
                    f"{self._waiting} images wait to be decoded, {count} more came; "
                    f"at most {self.max_pending} can wait",
                    max(_SHORTEST_RETRY_S, self._waiting * self._mean_s / self.workers),
                )
            self._waiting += count

    def _work(self, data: bytes, contract: ImageInput) -> Prepared:
        with self._lock:
            self._waiting -= 1
        start_s = perf_counter()
        prepared = preprocess(data, contract, limits=self._limits, reduced=self._reduced)
        taken_s = perf_counter() - start_s
        with self._lock:
            self._mean_s += _SMOOTHING * (taken_s - self._mean_s)
        return prepared

    def _forget_if_cancelled(self, future: Future[Prepared]) -> None:
        if future.cancelled():  # it never reached a thread
            with self._lock:
                self._waiting -= 1


async def _numbered(index: int, future: Future[Prepared]) -> Prepared:
    try:
        return await asyncio.wrap_future(future)
    except InvalidImageError as error:
        raise InvalidImageError(f"image {index}: {error}") from error
