"""Keeps a process that runs a graph alive: starts it, and starts it again when it is gone."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from kokeshi import metrics
from kokeshi.engines.process.backoff import Backoff
from kokeshi.engines.process.peer import Peer
from kokeshi.engines.process.questions import Opened
from kokeshi.engines.process.ready import ready
from kokeshi.engines.process.watch import Fate, watch
from kokeshi.errors import KokeshiError, UnavailableError

logger = logging.getLogger(__name__)
_UNLOADED: Final = "the model was unloaded"


class Keeper:
    """One thread, which lives as long as there is to be a process.

    The kernel kills a process when the thread that started it ends, so this thread starts it.

    Args:
        model: name, for the log and the metrics.
        make: starts the process.
        prepare: has a process open its graph; the argument says whether it is the first.
        wedge_timeout_s: how long a batch may run.
    """

    def __init__(
        self,
        model: str,
        make: Callable[[], Peer],
        prepare: Callable[[Peer, bool], Opened],
        wedge_timeout_s: float,
    ) -> None:
        self.peer: Peer | None = None  # None: there is none that runs batches
        self.reason = _UNLOADED  # why there is none
        self._model = model
        self._make = make
        self._prepare = prepare
        self._wedge_timeout_s = wedge_timeout_s
        self._lock = threading.RLock()  # of what follows, and around those who are told
        self._starting: Peer | None = None
        self._closed = False
        self._fell: Callable[[str], None] | None = None
        self._rose: Callable[[], None] | None = None
        self._closing_fd = os.eventfd(0)
        self._opened: Future[Opened] = Future()
        self._thread = threading.Thread(target=self._keep, name=f"keep {model}", daemon=True)
        self._thread.start()

    def opened(self) -> Opened:
        """Blocks until the first process has opened its graph; what it says of it.

        Raises:
            Exception: it could not; nothing is kept, and nothing is left to be closed.
        """
        try:
            return self._opened.result()
        except BaseException:
            self.close()
            raise

    def tell(self, fell: Callable[[str], None], rose: Callable[[], None]) -> None:
        """Whom to tell why the process is gone, and that it runs again."""
        with self._lock:
            self._fell, self._rose = fell, rose
            if self.peer is None:
                fell(self.reason)

    def close(self) -> None:
        """Ends the process; returns when it is gone."""
        with self._lock:
            if self._closed:
                return
            self._closed, self.reason = True, _UNLOADED
            if self._starting:
                self._starting.kill()
        os.eventfd_write(self._closing_fd, 1)
        self._thread.join()
        os.close(self._closing_fd)

    def _keep(self) -> None:
        try:
            peer, opened = self._start(first=True)
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self.peer = peer
        self._opened.set_result(opened)
        backoff = Backoff()
        while True:
            backoff.up()
            ended = watch(peer, self._wedge_timeout_s, self._closing_fd, self._tell_up)
            if ended is not None:
                self._tell_down(*ended)
            peer.tell_gone(self.reason)
            self.peer = None
            peer.close()
            again = self._restart(backoff) if ended else None
            if again is None:
                return
            peer = again

    def _restart(self, backoff: Backoff) -> Peer | None:
        """Starts the process until it stays; None: it is wanted no longer."""
        while not ready(backoff.delay_s(), self._closing_fd):
            try:
                peer, _ = self._start(first=False)
            except Exception as error:
                self._tell_not_started(error)
                continue
            with self._lock:
                self.peer = peer
            self._tell_up()
            return peer
        return None

    def _start(self, *, first: bool) -> tuple[Peer, Opened]:
        """Starts the process and has it open its graph."""
        peer = self._make()
        try:
            with self._lock:
                self._starting = peer
                if self._closed:
                    raise UnavailableError(self.reason)
            return peer, self._prepare(peer, first)
        except BaseException:
            peer.close()
            raise
        finally:
            self._starting = None

    def _tell_up(self) -> None:
        """Also now and again while it is up: news of the one before may come late, and be wrong."""
        with self._lock:
            if self._rose and not self._closed:
                self._rose()

    def _tell_down(self, fate: Fate, reason: str) -> None:
        metrics.MODEL_RESTARTS.labels(self._model, fate).inc()
        with self._lock:
            self.peer, self.reason = None, reason
            if self._fell:
                self._fell(reason)

    def _tell_not_started(self, error: Exception) -> None:
        if self._closed:
            return
        metrics.MODEL_RESTARTS.labels(self._model, Fate.NOT_STARTED).inc()
        bug = None if isinstance(error, KokeshiError) else error
        logger.warning("model %s does not start again: %s", self._model, error, exc_info=bug)
