"""One pool of threads for all scans of the process, as many as it has cores.

NumPy and FAISS let go of the interpreter while they compute, so rows split over plain threads run
in parallel. Each thread computes alone: a BLAS or OpenMP pool inside would fight with this one.
"""

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")
_Work = Callable[[], object]


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Helper:
    """A thread that works for one caller at a time.

    Once the work is done it holds no lock and wants nothing of the interpreter. A thread of an
    executor still has its queue to look at then, and each time the caller lets go of the
    interpreter, as it does in every larger call of NumPy, the two would hand it to and fro.
    """

    def __init__(self, name: str) -> None:
        self._given: list[_Work | None] = []  # one at most; None: end
        self._is_called = threading.Lock()  # open when something is given
        self._is_done = threading.Lock()  # open when it is done
        self._error: BaseException | None = None
        for closed in (self._is_called, self._is_done):
            closed.acquire()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def give(self, work: _Work | None) -> None:
        """Has work done, or ends; whoever gives work takes it back or waits."""
        self._given.append(work)
        # it is open where the thread has not yet looked for what was taken back
        if self._is_called.locked():
            self._is_called.release()

    def end(self) -> None:
        """Waits for the work, unless it was not begun; its errors are raised here."""
        with suppress(IndexError):
            self._given.pop()
            return
        self._is_done.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            self._is_called.acquire()
            try:
                work = self._given.pop()
            except IndexError:  # taken back
                continue
            if work is None:
                return
            try:
                work()
            except BaseException as error:
                self._error = error
            del work  # what it holds is the caller's
            self._is_done.release()


class Pool:
    """Threads that share out tasks; the caller's own thread takes its part."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._idle: deque[_Helper] = deque()
        self._count = 0  # of helpers
        self._lock = threading.Lock()

    def map(
        self, function: Callable[[_Task], _Answer], tasks: Sequence[_Task], *, alone: bool = False
    ) -> list[_Answer]:
        """Answers in the order of the tasks; a thread that is done takes the next task.

        Helpers that work for other callers are not waited for.

        Args:
            function: computes one answer; its errors are raised here.
            tasks: what it is called with.
            alone: computes everything on the calling thread: handing over a task costs more than
                a small one takes.
        """
        if alone or self.threads == 1 or len(tasks) <= 1:
            return [function(task) for task in tasks]
        answers: list[_Answer | None] = [None] * len(tasks)
        numbers = itertools.count()

        def work() -> None:
            while (number := next(numbers)) < len(tasks):
                answers[number] = function(tasks[number])

        self._share(work, min(self.threads, len(tasks)) - 1)
        return answers  # type: ignore[return-value]  # every number was taken once

    def close(self) -> None:
        """Ends the threads that are idle; the next use starts new ones."""
        with self._lock:
            while self._idle:
                self._idle.pop().give(None)
                self._count -= 1

    def forget(self) -> None:
        """Lets go of threads that a fork did not bring along."""
        self._idle, self._count, self._lock = deque(), 0, threading.Lock()

    def _share(self, work: _Work, most: int) -> None:
        """Does work on the calling thread, and with so many helpers at most."""
        helpers = self._taken(most)
        for helper in helpers:
            helper.give(work)
        errors: list[BaseException] = []
        for end in (work, *(helper.end for helper in helpers)):
            try:
                end()
            except BaseException as error:
                errors.append(error)
        self._idle.extend(helpers)
        if errors:
            raise errors[0]

    def _taken(self, most: int) -> list[_Helper]:
        with self._lock:
            while len(self._idle) < most and self._count < self.threads:
                self._count += 1
                self._idle.append(_Helper(f"kokeshi-index-scan-{self._count}"))
            return [self._idle.pop() for _ in range(min(most, len(self._idle)))]


POOL: Final = Pool(usable_cores())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
