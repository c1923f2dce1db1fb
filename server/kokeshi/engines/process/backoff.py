"""How long to wait before a process that died is started again."""

import time
from typing import Final

FIRST_S: Final = 0.1
FACTOR: Final = 2.0
LONGEST_S: Final = 30.0
STEADY_S: Final = 60.0  # up for so long, it starts from the beginning


class Backoff:
    """Delays that grow; `up` is told after each start that worked."""

    def __init__(self) -> None:
        self._next_s = FIRST_S
        self._up_since_s = float("inf")

    def delay_s(self) -> float:
        """Seconds to wait now."""
        if time.monotonic() - self._up_since_s > STEADY_S:
            self._next_s = FIRST_S
        self._up_since_s = float("inf")
        delay_s, self._next_s = self._next_s, min(self._next_s * FACTOR, LONGEST_S)
        return delay_s

    def up(self) -> None:
        """It runs from now on."""
        self._up_since_s = time.monotonic()
