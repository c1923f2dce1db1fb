"""Numbers of writes where no database counts them: the time, made strictly ascending."""

import threading
import time

from kokeshi.errors import UnavailableError


class Clock:
    """A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014) of one gateway.

    Its numbers are microseconds since 1970, never given twice and never less than one that was
    given or met before. Those of two gateways are comparable as far as their clocks agree.

    Args:
        skew_s: most seconds that the clock of another gateway may be ahead.
    """

    def __init__(self, skew_s: float) -> None:
        self._skew_s = skew_s
        self._last = 0
        self._turn = threading.Lock()

    def take(self, count: int) -> int:
        """The first of `count` consecutive numbers that belong to the caller."""
        with self._turn:
            first = max(self._last + 1, _now())
            self._last = first + count - 1
            return first

    def now(self) -> int:
        """A number that is at least every one given so far, and below every one given later."""
        with self._turn:
            self._last = max(self._last, _now())
            return self._last

    def meet(self, number: int) -> None:
        """Moves up to a number that another gateway gave.

        Raises:
            UnavailableError: no gateway can have given it yet.
        """
        with self._turn:
            if number > max(self._last, _now()) + int(self._skew_s * 1e6):
                raise UnavailableError(f"write {number} is not known yet")
            self._last = max(self._last, number)


def _now() -> int:
    return time.time_ns() // 1000
