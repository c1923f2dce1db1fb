"""Fits and diagnoses: long, so they run one at a time beside the event loop, and few may wait.

Work that nobody waits for ends at its next step (`kokeshi.plugin.go_on`), and so does work that
takes too long, or that the server stops for.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    KokeshiError,
    OverloadedError,
    UnavailableError,
)
from kokeshi.plugin import go_on, stoppable

CLOSING_S: Final = 5.0  # that a step may take to its end when the server stops

T = TypeVar("T")


class Jobs:
    """One thread for long work, begun with the first.

    Args:
        most: that run or wait; further ones are refused.
        longest_s: that each may run.
    """

    def __init__(self, most: int, longest_s: float) -> None:
        self._most = most
        self._longest_s = longest_s
        self._under_way: set[_Job[Any]] = set()
        self._queue: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def close(self) -> None:
        """Stops the one that runs, and drops the others.

        One whose step does not end in CLOSING_S is left alone: its thread keeps no process alive.
        """
        for job in list(self._under_way):
            job.stop(UnavailableError("the server stops"))
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(CLOSING_S)

    async def run(self, work: Callable[[], T], timeout_s: float | None) -> T:
        """What the work returns.

        Raises:
            OverloadedError: too many are under way.
            DeadlineError: it took too long; it ends at its next step, without an answer.
            UnavailableError: the server stops.
        """
        if len(self._under_way) >= self._most:
            raise OverloadedError(f"{self._most} fits and diagnoses are under way, and no more may")
        job = _Job(work, self._longest_s)
        future = asyncio.wrap_future(job.future)
        self._under_way.add(job)
        future.add_done_callback(lambda done: self._done(job, done))
        self._begin(job)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DeadlineError("the fit or diagnosis was not done in time") from None
        finally:
            job.stop(CancelledError("nobody waits for the fit or diagnosis any more"))
            job.future.cancel()  # at once, where it has not begun

    def _begin(self, job: "_Job[Any]") -> None:
        if self._thread is None:
            # a daemon: the process may end while a step of a plugin's does not
            self._thread = Thread(target=self._work, name="fit", daemon=True)
            self._thread.start()
        self._queue.put(job)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run()
            del job  # what it holds may be large

    def _done(self, job: "_Job[Any]", future: "asyncio.Future[Any]") -> None:
        self._under_way.discard(job)
        if not future.cancelled():
            future.exception()  # seen, though its caller may have left


class _Job(Generic[T]):
    """Work, and whether it may go on."""

    def __init__(self, work: Callable[[], T], longest_s: float) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._longest_s = longest_s
        self._reason: KokeshiError | None = None

    def stop(self, reason: KokeshiError) -> None:
        """Ends it at its next step; where it has not begun, before the first."""
        self._reason = self._reason or reason

    def run(self) -> None:
        """On the thread of the jobs."""
        if not self.future.set_running_or_notify_cancel():
            return
        until_s = monotonic() + self._longest_s
        try:
            with stoppable(lambda: self._check(until_s)):
                go_on()
                result = self._work()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def _check(self, until_s: float) -> None:
        if self._reason is not None:
            raise self._reason
        if monotonic() > until_s:
            raise DeadlineError(
                f"a fit or diagnosis may run for {self._longest_s:g} s, and this one was stopped"
            )
