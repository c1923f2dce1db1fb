"""Functions that are called at a time, by one thread for all who ask."""

import logging
import threading
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic_ns
from typing import Final

logger = logging.getLogger(__name__)

# The thread ends when nothing is due for so long; another is started when something is.
LINGER_S: Final = 5.0
# Cancelled timers stay in the heap until their time comes, or until they are this many and half.
KEPT_TIMERS: Final = 256


class Timer:
    """One call to come."""

    __slots__ = ("_of", "call", "when_ns")

    def __init__(self, of: "Timers", when_ns: int, call: Callable[[], object]) -> None:
        self._of = of
        self.when_ns = when_ns
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Calls no more, unless it is just being called, and lets go of what it would."""
        if self.call is not None:
            self.call = None
            self._of.cancelled()


class Timers:
    """A heap of calls, and the thread that makes them, which is there while there are any.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[int, int, Timer]] = []
        self._numbers = count()
        self._cancelled = 0
        self._runs = False

    def at(self, when_ns: int, call: Callable[[], object]) -> Timer:
        """Has a function called, once.

        Args:
            when_ns: nanoseconds of the monotonic clock.
            call: must not wait, for others are due too.
        """
        timer = Timer(self, when_ns, call)
        with self._changed:
            heappush(self._heap, (when_ns, next(self._numbers), timer))
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            elif self._heap[0][2] is timer:
                self._changed.notify()
        return timer

    def cancelled(self) -> None:
        """A timer was cancelled; where too many are, the heap is made anew without them."""
        with self._changed:
            self._cancelled += 1
            if self._cancelled > KEPT_TIMERS and self._cancelled > len(self._heap) // 2:
                self._heap = [each for each in self._heap if each[2].call is not None]
                heapify(self._heap)
                self._cancelled = 0

    def _work(self) -> None:
        while (timer := self._next()) is not None:
            call, timer.call = timer.call, None
            if call is None:
                continue
            try:
                call()
            except Exception:
                logger.exception("a timer failed")

    def _next(self) -> Timer | None:
        """Waits for the next that is due; None: there was none for long."""
        with self._changed:
            while True:
                if not self._heap:
                    if not self._changed.wait(LINGER_S) and not self._heap:
                        self._runs = False
                        return None
                    continue
                wait_s = (self._heap[0][0] - monotonic_ns()) / 1e9
                if wait_s <= 0:
                    return self._pop()
                self._changed.wait(wait_s)

    def _pop(self) -> Timer:
        timer = heappop(self._heap)[2]
        if timer.call is None:
            self._cancelled = max(0, self._cancelled - 1)
        return timer


TIMERS: Final = Timers("kokeshi-limits")
