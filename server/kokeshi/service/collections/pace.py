"""Which searches are quick, by those that were like them."""

from collections.abc import Hashable
from typing import Final

QUICK_S: Final = 0.002  # handing a search to another thread and back costs a tenth of that
# Of what a search took longer than was thought: others that run beside it lend it their time, so
# one that was quick says more than one that was slow.
UPWARDS: Final = 0.02
MOST_KINDS: Final = 4096  # that are remembered; then all are seen anew


class Pace:
    """Seconds that searches take, by their kind; any thread may ask and tell."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def is_quick(self, kind: Hashable) -> bool:
        """False also where none was seen yet."""
        return self._seconds.get(kind, QUICK_S) < QUICK_S

    def saw(self, kind: Hashable, seconds: float) -> None:
        """Counts a search in."""
        known = self._seconds.get(kind)
        if known is None and len(self._seconds) >= MOST_KINDS:
            self._seconds.clear()
        slower = 0.0 if known is None else max(0.0, seconds - known)
        self._seconds[kind] = known + UPWARDS * slower if known and slower else seconds
