"""One thread that works while nobody searches, and never more than a set share of a core."""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from kokeshi import metrics
from kokeshi.errors import KokeshiError
from kokeshi.index.kernels.pool import usable_cores

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.002  # how often a busy store is looked at
CLOSE_S: Final = 30.0


class ClosingError(Exception):
    """The thread ends: work that is not done stays so."""


@dataclass(frozen=True)
class Pace:
    """What repeating searches may cost.

    Attributes:
        core_share: of one core, on average; every core counts as busy while the thread works.
        patience_s: after which one piece of work is done though the store was never idle.
        queue_jobs: that may wait; more are dropped.
        survey_s: between looks at what else there is to do.
        niceness: of the thread, on Linux; what it starts on others does not inherit it.
    """

    core_share: float = 0.1
    patience_s: float = 60.0
    queue_jobs: int = 256
    survey_s: float = 30.0
    niceness: int = 10


class Shadow:
    """Runs jobs one by one in idle time.

    Args:
        pace: what they may cost.
        is_idle: true when nobody searches.
    """

    def __init__(self, pace: Pace, is_idle: Callable[[], bool]) -> None:
        self._pace = pace
        self._is_idle = is_idle
        self._jobs: deque[Callable[[], None]] = deque()
        self._changing = threading.Condition()
        self._is_closing = False
        self._is_busy = False
        self._surveyed_at_s = float("-inf")
        self._owed_s = 0.0
        self._thread = threading.Thread()

    def start(self, survey: Callable[[], bool]) -> None:
        """Begins to work.

        Args:
            survey: called now and then while no job waits, does one piece of other work, and is
                true while there is more.
        """
        self._thread = threading.Thread(
            target=self._run, args=(survey,), name="kokeshi-recall", daemon=True
        )
        self._thread.start()

    def offer(self, job: Callable[[], None]) -> bool:
        """Queues a job; false when the queue is full."""
        with self._changing:
            if self._is_closing or len(self._jobs) >= self._pace.queue_jobs:
                metrics.RECALL_DROPPED.inc()
                return False
            self._jobs.append(job)
            metrics.RECALL_QUEUE.set(len(self._jobs))
            self._changing.notify_all()
        return True

    def wake(self) -> None:
        """Makes the next survey come at once."""
        with self._changing:
            self._surveyed_at_s = float("-inf")
            self._changing.notify_all()

    def wait_done(self, timeout_s: float) -> bool:
        """Waits until no job is left; false when time runs out."""
        with self._changing:
            return self._changing.wait_for(
                lambda: not self._jobs and not self._is_busy and not self._is_survey_due(),
                timeout_s,
            )

    def close(self) -> None:
        """Ends the thread, after the search that it is in."""
        with self._changing:
            self._is_closing = True
            self._jobs.clear()
            metrics.RECALL_QUEUE.set(0)
            self._changing.notify_all()
        self._thread.join(CLOSE_S)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for an idle moment; what runs inside is paid for by rest before the next turn.

        Raises:
            ClosingError: there will be none.
        """
        self._rest()
        self._wait_idle()
        if self._is_closing:
            raise ClosingError
        started_s = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - started_s
            metrics.RECALL_SECONDS.inc(took_s)
            self._owed_s = took_s * max(0.0, usable_cores() / self._pace.core_share - 1)

    def _rest(self) -> None:
        with self._changing:
            self._changing.wait_for(lambda: self._is_closing, self._owed_s)
            self._owed_s = 0.0

    def _wait_idle(self) -> None:
        until_s = time.monotonic() + self._pace.patience_s
        while not self._is_idle() and not self._is_closing and time.monotonic() < until_s:
            time.sleep(LOOK_S)

    def _run(self, survey: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._pace.niceness)
        look = partial(self._look, survey)
        while (job := self._next(look)) is not None:
            try:
                job()
            except ClosingError:
                pass
            except KokeshiError as error:
                # the collection is gone, or filters so that nothing can be compared
                logger.debug("a search could not be repeated: %s", error)
            except Exception:
                logger.exception("a search could not be repeated")
            with self._changing:
                self._is_busy = False
                self._changing.notify_all()

    def _look(self, survey: Callable[[], bool]) -> None:
        has_more, started_s = False, time.monotonic()
        try:
            has_more = survey()
        finally:
            if not has_more:
                self._surveyed_at_s = started_s

    def _next(self, look: Callable[[], None]) -> Callable[[], None] | None:
        """Waits for a job, or for the time of a survey; None: the end."""
        with self._changing:
            while not self._is_closing:
                if self._jobs:
                    self._is_busy = True
                    job = self._jobs.popleft()
                    metrics.RECALL_QUEUE.set(len(self._jobs))
                    return job
                if self._is_survey_due():
                    self._is_busy = True
                    return look
                self._changing.wait(self._pace.survey_s)
        return None

    def _is_survey_due(self) -> bool:
        return time.monotonic() - self._surveyed_at_s >= self._pace.survey_s
