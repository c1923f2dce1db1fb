"""Threads that take events off a completion queue and work on them where they were taken.

An answer needs no hand-over from one thread to another, which under the interpreter's lock costs
more than a small graph. One thread takes events as long as none blocks: with two, the lock changes
hands at every event, and a model of microseconds answers a third fewer requests.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from grpc._cython import cygrpc

logger: Final = logging.getLogger(__name__)

Work = Callable[[], object]

JOIN_TIMEOUT_S: Final = 5.0
KEPT: Final = 1  # threads that take events, while none blocks
# Work that should have ended, and has not after this long, is taken for work that blocks.
STUCK_S: Final = 0.05


class Pollers:
    """A few threads that take events, and one more for each piece of work that blocks.

    Args:
        queue: of events; the tag of each is called with it, and must not wait.
        most: threads; work that blocks and finds all but one of them busy waits in line.
    """

    def __init__(self, queue: Any, most: int) -> None:  # noqa: ANN401 - grpc is untyped
        self._queue = queue
        self._most = most
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._free = 0  # threads that do not block
        self._spare = 0  # threads that came while others were stuck, and are to go
        self._waiting: deque[Work] = deque()
        self._since_s: dict[int, float] = {}  # by thread, of work that ends soon; below 0: stuck
        self._works = threading.Event()
        self._over = False
        self._looking = threading.Thread(target=self._look, name="kokeshi-grpc-stuck", daemon=True)

    def start(self) -> None:
        """Takes events from now on, until the queue is shut down."""
        with self._lock:
            while self._free < KEPT and self._add():
                pass
            self._looking.start()

    def join(self) -> None:
        """Returns when the threads have ended, as they do when the queue is shut down."""
        for thread in (*self._threads, self._looking):
            thread.join(JOIN_TIMEOUT_S)

    def run(self, work: Work) -> None:
        """Does work that may block on the calling thread, or leaves it in line.

        Args:
            work: raises nothing.
        """
        with self._lock:
            if self._free <= KEPT and not self._add() and self._free == 1:
                self._waiting.append(work)
                return
            self._free -= 1
        work()
        self._catch_up()

    def run_soon(self, work: Work) -> None:
        """Does work on the calling thread that should not block; where it does, others help out.

        Args:
            work: raises nothing.
        """
        thread = threading.get_ident()
        with self._lock:
            self._since_s[thread] = time.monotonic()
        if not self._works.is_set():
            self._works.set()
        work()
        with self._lock:
            was_stuck = self._since_s.pop(thread) < 0
        if was_stuck:
            self._catch_up()
            with self._lock:
                self._spare += self._free > KEPT

    def _catch_up(self) -> None:
        """Does what waits in line, before the thread takes events again."""
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None

    def _add(self) -> bool:
        """Another thread, where there may be one more; the caller holds the lock."""
        if len(self._threads) >= self._most:
            return False
        name = f"kokeshi-grpc-{len(self._threads)}"
        thread = threading.Thread(target=self._poll, name=name, daemon=True)
        self._threads.append(thread)
        self._free += 1
        thread.start()
        return True

    def _poll(self) -> None:
        while True:
            event = self._queue.poll()
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                self._over = True
                self._works.set()
                return
            try:
                event.tag(event)
            except Exception:
                logger.exception("an event of gRPC failed")
            del event  # its call must not live as long as the next wait
            if self._spare and self._goes():
                return

    def _goes(self) -> bool:
        """Whether the calling thread is one too many."""
        with self._lock:
            if not self._spare or self._free <= KEPT:
                self._spare = 0
                return False
            self._spare -= 1
            self._free -= 1
            self._threads.remove(threading.current_thread())
            return True

    def _look(self) -> None:
        """Looks for work that is stuck, while there is work at all."""
        while self._works.wait() and not self._over:
            self._works.clear()
            time.sleep(STUCK_S)
            with self._lock:
                self._help(time.monotonic())
                works = bool(self._since_s)
            if works or self._over:
                self._works.set()

    def _help(self, now_s: float) -> None:
        for thread, since_s in self._since_s.items():
            if 0 <= since_s < now_s - STUCK_S:
                self._since_s[thread] = -1.0
                self._free -= 1
        while self._free < KEPT and self._add():
            pass
