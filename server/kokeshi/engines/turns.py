"""Whose turn it is: instances go from batch to batch, and a waiting thread leads the next one."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import monotonic_ns
from typing import Final

from kokeshi.engines.accounts import Accounts
from kokeshi.engines.batches import Run, Times
from kokeshi.engines.entries import OVER, Entry, Stage, tell, wake
from kokeshi.engines.execution import Execution
from kokeshi.engines.policy import Policy
from kokeshi.engines.queues import Waiting
from kokeshi.engines.statistics import Failure
from kokeshi.errors import DeadlineError, KokeshiError, UnavailableError

# A thread that asked, and does not wait for its own answer, runs batches for others for so long;
# then one of the executor goes on.
LEADS_S: Final = 0.005
# Batches that take longer than this are begun before the answers to the one before are written.
SLOW_S: Final = 0.002


class Turns:
    """The instances of a model, and the requests that wait for them.

    Where nothing waits, instances may be free. Where something does, none is free, or a gatherer
    looks after what waits: a request that has an instance, and waits for its batch to fill.

    Args:
        model: name, for messages.
        runs: one per instance; each runs one batch at a time.
        policy: batching rules.
        executor: threads that lead for those who do not wait on one.
        accounts: where executions are counted.
    """

    def __init__(
        self,
        model: str,
        runs: Sequence[Run],
        policy: Policy,
        executor: Executor,
        accounts: Accounts,
    ) -> None:
        self.lock = threading.Lock()  # around all that is not a method's own affair
        self.waiting = Waiting(policy)
        self.instances = len(runs)
        self._model = model
        self._free = list(runs)
        self._merge = policy.merge
        self._delay_ns = round(policy.max_queue_delay_s * 1e9) if policy.merge else 0
        self._executor = executor
        self._accounts = accounts
        self._execution = Execution(model, self.lock, accounts)
        self._gatherer: Entry | None = None
        self._more: threading.Lock | None = None  # held; released, it wakes the gatherer
        self._lacking_rows = 0  # of the gatherer's batch
        self._closed = False
        self._when_idle: Callable[[], object] | None = None

    @property
    def batch_ns(self) -> float:
        """Time that a batch takes, on average; 0: none ran yet."""
        return self._execution.batch_ns

    @property
    def slow(self) -> bool:
        """Whether a batch may take so long that handing it to another thread costs nothing beside.

        So is the first, of which nobody knows.
        """
        return not 0 < self._execution.batch_ns < SLOW_S * 1e9

    def pending(self) -> int:
        """With the lock: requests that wait."""
        gathers = self._gatherer is not None and self._gatherer.stage is Stage.LEADING
        return len(self.waiting) + gathers

    def idle_instance(self) -> Run | None:
        """With the lock: an instance for a request that need not wait, if there is one."""
        return self._free.pop() if self._free and not self._delay_ns else None

    def enter(self, entry: Entry) -> Run | None:
        """With the lock: queues a request, or gives it an instance to gather a batch for."""
        if self._free and self._gatherer is None:
            self._gatherer, entry.stage = entry, Stage.LEADING
            return self._free.pop()
        self.waiting.push(entry)
        if self._gatherer is not None:
            self._lacking_rows -= entry.rows
            if self._lacking_rows <= 0:
                self._wake_gatherer()
        return None

    def leave(self, entry: Entry, error: KokeshiError) -> bool:
        """With the lock: gives up a request; False where it is answered, or leads by itself."""
        if entry.stage in OVER or entry.run is not None:
            return False
        if entry.stage is Stage.WAITING:
            self.waiting.remove(entry)
        elif entry is self._gatherer:
            self._wake_gatherer()  # so that another gathers
        entry.stage, entry.error = Stage.GONE, error
        return True

    def leave_late(self, entry: Entry, limit_ns: int) -> bool:
        """With the lock: gives up a request whose limit passed, but for one that runs in time."""
        ran = entry.stage is Stage.TAKEN
        if ran and limit_ns != entry.deadline_ns:
            return False
        if self.leave(entry, DeadlineError(f"model {self._model!r} did not answer in time")):
            self._accounts.refused_late(entry.since_ns, ran=ran)
            return True
        return False

    def lead(self, entry: Entry, run: Run) -> None:
        """On the thread that asked: runs the batch that begins with a request.

        Where the thread waits for that answer, it does so once; else, for some time, also what
        follows and has no thread that waits.
        """
        until_ns = monotonic_ns() + int(LEADS_S * 1e9) if entry.done is not None else 0
        self._lead(entry, run, until_ns, stay=False)

    def hand(self, entry: Entry, run: Run) -> None:
        """Has a request lead that got an instance: on its own thread, or on one of the executor."""
        if entry.run is not None and entry.wake is not None:
            entry.wake.release()
            return
        try:
            self._executor.submit(self._lead, entry, run, _NEVER_NS, stay=True)
        except RuntimeError:  # it was shut down
            self._strand(entry, run)

    def close(self, when_idle: Callable[[], object]) -> None:
        """Gathers no longer; `when_idle` is called, once, when nothing runs or waits."""
        with self.lock:
            self._closed = True
            self._wake_gatherer()
            self._when_idle = when_idle
        self._tell_idle()

    def refuse_waiting(self, error: KokeshiError) -> None:
        """Refuses everything that waits."""
        with self.lock:
            refused = []
            while (entry := self.waiting.pop(monotonic_ns())) is not None:
                refused.append(entry)
            self._execution.fail(refused, error, Failure.OTHER)
        wake(refused)

    def _lead(self, entry: Entry | None, run: Run, until_ns: int, *, stay: bool) -> None:
        """Runs batches, the first of which begins with a request that has an instance.

        Args:
            entry: that request.
            run: the instance.
            until_ns: another thread goes on after that.
            stay: the thread is the executor's: it runs what follows for blocked threads too.
        """
        while entry is not None:
            batch = self._form(entry)
            times = self._run_surely(batch, run)
            entry = self._next(run, stay=stay)
            if entry is not None and (entry.run is not None or self._passes_on(batch, until_ns)):
                self.hand(entry, run)
                entry = None
            wake(batch)
            self._tell_idle()
            if times is not None:
                self._accounts.observe(batch, times)

    def _passes_on(self, batch: list[Entry], until_ns: int) -> bool:
        """Whether another thread is to run the next batch, while this one writes answers."""
        if self.slow and any(entry.done is not None for entry in batch):
            return True
        return monotonic_ns() >= until_ns

    def _form(self, first: Entry) -> list[Entry]:
        """The batch that begins with a request; nothing where its caller has left."""
        if first.stage is Stage.TAKEN:
            return [first]
        while True:
            now_ns = monotonic_ns()
            with self.lock:
                late = 0 < first.hard_ns <= now_ns and self.leave_late(first, first.hard_ns)
                batch, more = self._take(first, now_ns)
                free = self._free.pop() if more is None and self._free else None
            if late:
                tell(first)
            if free is not None and (other := self._next(free, stay=False)) is not None:
                self.hand(other, free)  # of what waits, the batch left some
            if more is None:
                return batch
            until_ns = min(first.since_ns + self._delay_ns, first.hard_ns or _NEVER_NS)
            more.acquire(timeout=max(0.0, (until_ns - monotonic_ns()) / 1e9))

    def _take(self, first: Entry, now_ns: int) -> "tuple[list[Entry], threading.Lock | None]":
        """The batch of a request; or what is released when more has come to fill it."""
        batch, lacking_rows = [first], 0
        if first.stage is Stage.GONE:
            batch = []
        elif self._merge:
            late = bool(self._delay_ns) and now_ns >= first.since_ns + self._delay_ns
            patient = self._delay_ns > 0 and not self._closed
            batch, lacking_rows = self.waiting.fill(first, now_ns, late=late, patient=patient)
        if lacking_rows:
            self._lacking_rows, self._more = lacking_rows, threading.Lock()
            self._more.acquire()
            return [], self._more
        for entry in batch:
            entry.stage = Stage.TAKEN
        if self._gatherer is first:
            self._gatherer = self._more = None
        return batch, None

    def _wake_gatherer(self) -> None:
        if self._more is not None:
            self._more.release()
            self._more = None

    def _run_surely(self, batch: list[Entry], run: Run) -> Times | None:
        """Runs a batch; nobody waits for ever where this thread is ended meanwhile."""
        try:
            return self._execution.run(batch, run)
        except BaseException:
            self._abandon(batch, run)
            raise

    def _abandon(self, batch: list[Entry], run: Run) -> None:
        with self.lock:
            self._execution.fail(batch, self._execution.broken(), Failure.OTHER)
        following = self._next(run, stay=False)
        if following is not None:
            self.hand(following, run)
        wake(batch)
        self._tell_idle()

    def _next(self, run: Run, *, stay: bool) -> Entry | None:
        """Gives an instance to the next in line, to lead; or back.

        Args:
            run: the instance.
            stay: the calling thread is the executor's, and leads the next batch too.
        """
        with self.lock:
            entry = None if self._gatherer else self.waiting.pop(monotonic_ns())
            if entry is None:
                self._free.append(run)
                return None
            entry.stage = Stage.LEADING
            if self._delay_ns:
                self._gatherer = entry
            if entry.wake is not None and not stay:
                entry.run = run
            return entry

    def _tell_idle(self) -> None:
        if self._when_idle is None:
            return
        with self.lock:
            if self._when_idle is not None and len(self._free) == self.instances:
                when_idle, self._when_idle = self._when_idle, None
                when_idle()

    def _strand(self, entry: Entry, run: Run) -> None:
        error = UnavailableError(f"model {self._model!r} was unloaded")
        with self.lock:
            self._gatherer = None
            self._execution.fail([entry], error, Failure.OTHER)
            self._free.append(run)
        wake([entry])
        self.refuse_waiting(error)
        self._tell_idle()


_NEVER_NS: Final = 1 << 62
