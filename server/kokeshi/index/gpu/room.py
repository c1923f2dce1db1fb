"""How much of a GPU's memory is taken."""

import threading
from typing import Final

from kokeshi.index.gpu.cagra import GRAPH_DEGREE

_ALIGNED_BYTES: Final = 16  # cuVS begins a row of a graph at a multiple of it


class Room:
    """Bytes that may be taken, and given back."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    @property
    def taken_bytes(self) -> int:
        """What is taken."""
        with self._changed:
            return self._taken_bytes

    def take(self, size_bytes: int, wait_s: float) -> bool:
        """Takes room; false where there is none even after a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(size_bytes), wait_s):
                return False
            self._taken_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        """Gives room back."""
        with self._changed:
            self._taken_bytes -= size_bytes
            self._changed.notify_all()

    def _is_free(self, size_bytes: int) -> bool:
        return self._taken_bytes + size_bytes <= self.size_bytes


def row_bytes(length: int, *, is_graph: bool = False) -> int:
    """What a row of float16 takes on a GPU: its norm with it, or its links in a graph."""
    if is_graph:
        return -(-2 * length // _ALIGNED_BYTES) * _ALIGNED_BYTES + 4 * GRAPH_DEGREE
    return 2 * length + 4
