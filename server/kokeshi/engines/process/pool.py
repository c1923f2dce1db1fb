"""Channels to one process, one for each request that is under way."""

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.engines.process.channel import Channel, ClosedError, Tensors, connect
from kokeshi.errors import CancelledError, DeadlineError, UnavailableError

IDLE_S: Final = 10.0  # a channel that was not used for so long is closed, with its memory
GONE: Final = "the engine's process is gone; it is being started again"


class Pool:
    """Asks from any thread, over a channel that nobody else uses meanwhile.

    Args:
        path: of the socket.
        idle_s: how long a channel that is not used stays open.
    """

    def __init__(self, path: Path, idle_s: float = IDLE_S) -> None:
        self._path = str(path)
        self._idle_s = idle_s
        self._idle: deque[tuple[Channel, float]] = deque()  # with the last use, the newest last

    def ask(
        self, kind: int, meta: bytes, tensors: Tensors
    ) -> tuple[bytes, Mapping[str, NDArray[Any]]]:
        """See `Channel.ask`.

        Raises:
            UnavailableError: the process is gone.
        """
        channel, is_new = self._take()
        try:
            answer = channel.ask(kind, meta, tensors)
        except ClosedError:
            channel.close()
            if is_new:
                raise UnavailableError(GONE) from None
            self.clear()  # they are of a process that is gone; there may be a new one by now
            return self.ask(kind, meta, tensors)
        except (DeadlineError, CancelledError):
            # It was given up; who still reads its tensors must not see those of the next request.
            channel.close()
            raise
        except BaseException:
            self._give_back(channel)
            raise
        self._give_back(channel)
        return answer

    def _take(self) -> tuple[Channel, bool]:
        try:
            return self._idle.pop()[0], False
        except IndexError:
            pass
        try:
            return connect(self._path), True
        except (OSError, ClosedError):
            raise UnavailableError(GONE) from None

    def _give_back(self, channel: Channel) -> None:
        self._idle.append((channel, time.monotonic()))

    def trim(self) -> None:
        """Closes the channels that nobody used for a while."""
        before_s = time.monotonic() - self._idle_s
        while self._idle and self._idle[0][1] < before_s:
            try:
                channel, used_s = self._idle.popleft()
            except IndexError:  # another thread had the last
                return
            if used_s >= before_s:
                self._idle.append((channel, used_s))
                return
            channel.close()

    def clear(self) -> None:
        """Closes all that are idle."""
        while self._idle:
            try:
                self._idle.pop()[0].close()
            except IndexError:
                return
