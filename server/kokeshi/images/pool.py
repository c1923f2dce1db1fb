"""Threads that decode, resize and encode, so that the event loop does not.

libjpeg-turbo, Pillow's decoders and its resize release the interpreter lock.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

from kokeshi.contract import ImageInput
from kokeshi.errors import OverloadedError, UnavailableError
from kokeshi.images.limits import DEFAULT_LIMITS, Limits
from kokeshi.images.preprocessing import Prepared, preprocess

T = TypeVar("T")

_FIRST_GUESS_S: Final = 0.02  # per picture, until some are measured
_SMOOTHING: Final = 0.1  # weight of the newest picture in the mean
_SHORTEST_RETRY_S: Final = 0.05


class ImagePool:
    """A pool of threads with a bounded queue. Use it from one event loop.

    Args:
        workers: number of threads that decode, and as many that encode.
        max_pending: number of pictures that may wait for a thread.
        limits: what is refused.
        reduced: whether large JPEGs may be decoded at a reduced size.
    """

    def __init__(
        self,
        workers: int,
        max_pending: int = 256,
        limits: Limits = DEFAULT_LIMITS,
        *,
        reduced: bool = True,
    ) -> None:
        self.workers = workers
        self.max_pending = max_pending
        self._limits = limits
        self._reduced = reduced
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="kokeshi-image")
        self._encoders = ThreadPoolExecutor(workers, thread_name_prefix="kokeshi-encode")
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
        self._admit()
        future = self._executor.submit(self._work, data, contract)
        future.add_done_callback(self._forget_if_cancelled)
        return await asyncio.wrap_future(future)

    async def encode(self, work: Callable[[], T]) -> T:
        """Run what makes an answer of maps as large as pictures; few at once, for their memory.

        It has threads of its own: a request that is nearly done does not queue behind new ones.
        """
        return await asyncio.get_running_loop().run_in_executor(self._encoders, work)

    def close(self) -> None:
        """Drop what waits, finish what runs, end the threads."""
        self._closed = True
        for executor in (self._executor, self._encoders):
            executor.shutdown(cancel_futures=True)

    def _admit(self) -> None:
        if self._closed:
            raise UnavailableError("the server is shutting down")
        with self._lock:
            if self._waiting >= self.max_pending:
                raise OverloadedError(
                    f"{self._waiting} images wait to be decoded; "
                    f"at most {self.max_pending} can wait",
                    max(_SHORTEST_RETRY_S, self._waiting * self._mean_s / self.workers),
                )
            self._waiting += 1

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
