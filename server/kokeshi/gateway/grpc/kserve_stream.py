"""A stream of requests answered in order, several at once."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")

WIDTH: Final = 16  # requests of one stream that run at once: enough to fill a batch


def pipelined(requests: Iterator[T], answer: Callable[[T], A], width: int = WIDTH) -> Iterator[A]:
    """The answers, in the order of the requests; the next are read while earlier ones run.

    Args:
        requests: read on other threads, by one at a time.
        answer: called on those threads, in the context of the caller.
        width: how many may run, or wait to be taken, at once.

    Raises:
        Exception: what reading the requests raised, after the answers to those before.
    """
    pipeline = _Pipeline(requests, answer, width)
    try:
        yield from pipeline.answers()
    finally:
        pipeline.close()


class _Pipeline(Generic[T, A]):
    """Threads that take turns: whoever read a request runs it, and another reads the next.

    So a request changes threads once less than with a thread that reads for all.
    """

    def __init__(self, requests: Iterator[T], answer: Callable[[T], A], width: int) -> None:
        self._requests = requests
        self._answer = answer
        self._context = contextvars.copy_context()
        self._turn = threading.Lock()  # held by the one that reads
        self._free = threading.Semaphore(width)
        self._taken: SimpleQueue[Future[A] | Exception | None] = SimpleQueue()  # None: the last
        self._over = False
        self._counting = threading.Lock()
        self._waiting = 1  # threads that have no request
        # they are made as they are needed: a client that waits for each answer has two
        self._executor = ThreadPoolExecutor(width, thread_name_prefix="kserve-stream")
        self._executor.submit(self._work)

    def answers(self) -> Iterator[A]:
        """Each as soon as it and all before it are there."""
        while (taken := self._taken.get()) is not None:
            if isinstance(taken, Exception):
                raise taken
            yield taken.result()
            self._free.release()

    def close(self) -> None:
        """Reads no more and lets go of what waits; what runs ends by itself."""
        self._over = True
        self._free.release()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            request, future = taken
            try:
                # a context is entered by one thread at a time
                future.set_result(self._context.copy().run(self._answer, request))
            except BaseException as error:  # whatever it is, somebody waits
                future.set_exception(error)
            with self._counting:
                self._waiting += 1

    def _take(self) -> tuple[T, "Future[A]"] | None:
        """The next request, and where its answer goes; None: there is none."""
        with self._turn:
            self._free.acquire()
            if self._over:
                self._free.release()  # for the next to see it too
                return None
            try:
                request = next(self._requests)
            except Exception as error:
                self._end(None if isinstance(error, StopIteration) else error)
                return None
            future: Future[A] = Future()
            self._taken.put(future)
            self._follow()
            return request, future

    def _follow(self) -> None:
        """Sees that a thread waits to read."""
        with self._counting:
            self._waiting -= 1
            if self._waiting or self._over:
                return
            self._waiting += 1
        try:
            self._executor.submit(self._work)  # where all threads run already, one comes back to it
        except RuntimeError:  # closed meanwhile
            return

    def _end(self, error: Exception | None) -> None:
        self._over = True
        if error is not None:
            self._taken.put(error)
        self._taken.put(None)
        self._free.release()
