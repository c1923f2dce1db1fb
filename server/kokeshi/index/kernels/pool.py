"""One pool of threads for all scans of the process, as many as it has cores.

NumPy and FAISS let go of the interpreter while they compute, so rows split over plain threads run
in parallel. Each thread computes alone: a BLAS or OpenMP pool inside would fight with this one.
"""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Threads that share out tasks; the caller's own thread takes its part."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._helpers: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def map(
        self, function: Callable[[_Task], _Answer], tasks: Sequence[_Task], *, alone: bool = False
    ) -> list[_Answer]:
        """Answers in the order of the tasks; a thread that is done takes the next task.

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

        helpers = min(self.threads, len(tasks)) - 1
        waiting = [self._executor().submit(work) for _ in range(helpers)]
        work()
        for helper in waiting:
            # one that has not begun finds nothing left to do: there is no need to wait for it
            if not helper.cancel():
                helper.result()
        return answers  # type: ignore[return-value]  # every number was taken once

    def close(self) -> None:
        """Ends the threads; the next use starts new ones."""
        with self._starting:
            helpers, self._helpers = self._helpers, None
        if helpers is not None:
            helpers.shutdown()

    def forget(self) -> None:
        """Lets go of threads that a fork did not bring along."""
        self._helpers = None
        self._starting = threading.Lock()

    def _executor(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(
                    self.threads, thread_name_prefix="kokeshi-index-scan"
                )
            return self._helpers


POOL: Final = Pool(usable_cores())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
