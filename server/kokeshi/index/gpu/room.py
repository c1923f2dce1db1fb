"""How much of a GPU's memory is taken."""

import threading


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
