"""Fits and diagnoses: long, so they run one at a time beside the event loop, and few may wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kokeshi.errors import DeadlineError, OverloadedError

T = TypeVar("T")


class Jobs:
    """One thread for long work.

    Args:
        most: that run or wait; further ones are refused.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fit")

    def close(self) -> None:
        """Waits for the one that runs, and drops the others."""
        self._thread.shutdown(cancel_futures=True)

    async def run(self, work: Callable[[], T], timeout_s: float | None) -> T:
        """What the work returns.

        Raises:
            OverloadedError: too many are under way.
            DeadlineError: it took too long; the work ends by itself, and its answer is thrown away.
        """
        if self._under_way >= self._most:
            raise OverloadedError(f"{self._most} fits and diagnoses are under way, and no more may")
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DeadlineError("the fit or diagnosis was not done in time") from None

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # seen, though its caller may have left
