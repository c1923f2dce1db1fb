"""How long to wait before something is started once more."""

import time
from typing import Final

FIRST_S: Final = 1.0  # before the second try; the first one comes at once
FACTOR: Final = 2.0
LONGEST_S: Final = 60.0
STEADY_S: Final = 60.0  # up for so long, it starts from the beginning


class Backoff:
    """Delays that grow; `delay_s` is asked before each try, and `up` told after one that worked."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._up_since = float("inf")

    def delay_s(self) -> float:
        """Seconds to wait now."""
        if time.monotonic() - self._up_since > STEADY_S:
            self._next_s = 0.0
        self._up_since = float("inf")
        delay_s = self._next_s
        self._next_s = min(max(FIRST_S, delay_s * FACTOR), LONGEST_S)
        return delay_s

    def up(self) -> None:
        """It runs from now on."""
        self._up_since = time.monotonic()
