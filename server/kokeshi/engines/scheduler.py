"""One model's queue: merges waiting requests into batches by Triton's dynamic-batching rules.

There is no thread of its own. A thread that asks while an instance is free runs its request itself;
one that finds all of them busy waits in the queue. Whoever ends a batch wakes the next in line,
whose thread then leads: it gathers the batch that begins with its own request, and runs it. Behind
a coroutine stands no thread, so a thread of the executor leads for it, as long as something waits.
A request that meets no other therefore never changes threads, and one that has to wait is woken
once.

Who asks with a callback waits on no thread either: whoever ran the batch calls back, and the thread
that asked may lead for others meanwhile, as it does not wait for its own answer.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import Final

from kokeshi.engines.accounts import Accounts, hide_queue, show_queue
from kokeshi.engines.admission import Admission
from kokeshi.engines.batches import Outputs, Run
from kokeshi.engines.entries import OVER, Entry, Stage, tell
from kokeshi.engines.policy import Policy
from kokeshi.engines.protocol import Done, Tensors, Watch
from kokeshi.engines.statistics import Failure, ModelStatistics
from kokeshi.engines.timers import TIMERS
from kokeshi.engines.turns import Turns
from kokeshi.errors import CancelledError, UnavailableError

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S: Final = 30.0


class Scheduler:
    """Queues the requests to one version of a model, and runs them in batches.

    Args:
        model: name, for messages and metrics.
        version: for the statistics.
        run: executes one batch, tensors by name to outputs by name, on up to `policy.instances`
            threads at once.
        policy: batching rules.
        executor: threads that run what coroutines and callbacks ask for. One is used per instance,
            and one that ends its answers meanwhile; with fewer, instances wait for those.
    """

    def __init__(
        self,
        model: str,
        version: int,
        run: Run,
        policy: Policy,
        executor: Executor,
    ) -> None:
        runs = [run] * policy.instances
        self._model = model
        self._accounts = Accounts(model, ModelStatistics(model, version))
        self._turns = Turns(model, runs, policy, executor, self._accounts)
        self._admission = Admission(model, policy, self._turns, self._accounts)
        self._lock = self._turns.lock
        self._closed = False

    def start(self) -> None:
        """Shows the queue in the metrics; requests are answered from the beginning."""
        show_queue(self._model, self._pending)

    async def close(self, *, drain: bool = True, drain_timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Refuses what comes; returns when nothing runs any more, or the timeout has passed.

        Args:
            drain: answer what waits; False refuses it.
            drain_timeout_s: refuse what still waits then, and leave alone what still runs.
        """
        loop, idle = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._closed = True

        def tell() -> None:
            with suppress(RuntimeError):  # the loop was closed after the timeout
                loop.call_soon_threadsafe(idle.set)

        self._turns.close(tell)
        if not drain:
            await self._refuse_waiting()
        try:
            async with asyncio.timeout(drain_timeout_s):
                await idle.wait()
        except TimeoutError:
            logger.warning("model %s still ran when its time to finish was over", self._model)
            await self._refuse_waiting()
        hide_queue(self._model, self._pending)

    async def _refuse_waiting(self) -> None:
        # callbacks may ask elsewhere at once, and run that on the thread that called them
        await asyncio.to_thread(self._turns.refuse_waiting, self._unloaded())

    @property
    def pending(self) -> int:
        """Requests that wait."""
        return self._pending()

    def _pending(self) -> int:
        with self._lock:
            return self._turns.pending()

    def statistics(self) -> ModelStatistics:
        """A copy of what was counted so far."""
        with self._lock:
            return self._accounts.statistics.copy(self._turns.pending())

    def count_hit(self, since_ns: int, lookup_ns: int) -> None:
        """Counts a request, come at `since_ns`, that a cache answered before it was submitted."""
        with self._lock:
            self._accounts.hit(since_ns, lookup_ns)

    def count_miss(self, spent_ns: int) -> None:
        """Counts a request that a cache could not answer: the time to look it up and to keep it."""
        with self._lock:
            self._accounts.miss(spent_ns)

    def submit_now(
        self,
        inputs: Tensors,
        rows: int,
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        queue_timeout_s: float | None = None,
        watch: Watch | None = None,
    ) -> Outputs:
        """Answers a request on the calling thread, which must not be an event loop's.

        Args:
            inputs: by name, each (rows, ...).
            rows: of the request, at most the policy's.
            timeout_s: the caller's deadline.
            priority: 1 is the highest; 0 is the policy's default.
            queue_timeout_s: how long it may wait, where the policy lets requests say so.
            watch: called with a function, to be called from any thread when the caller has left;
                only where the request has to wait.

        Returns:
            Outputs by name, each (rows, ...).

        Raises:
            OverloadedError: too much waits already; it says when to try again.
            DeadlineError: a timeout passed; a request that still waited is not run.
            CancelledError: the caller left.
            UnavailableError: the model was unloaded.
            InferenceError: the graph failed.
        """
        entry = Entry(inputs, rows, monotonic_ns())
        with self._lock:
            run = self._admit(entry, timeout_s, priority, queue_timeout_s)
            if run is None:
                wake = entry.wake = threading.Lock()
                wake.acquire()
        if run is None:
            if watch is not None:
                watch(lambda: self._leave(entry))
            run = self._wait(entry, wake)
        if run is not None:
            self._turns.lead(entry, run)
        return _result(entry)

    def submit_soon(
        self,
        inputs: Tensors,
        rows: int,
        done: Done,
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        queue_timeout_s: float | None = None,
        watch: Watch | None = None,
    ) -> None:
        """As `submit_now`; returns at once where the request has to wait.

        Args:
            inputs: see there, as for what is not named here.
            rows: see there.
            done: called once, with what `submit_now` returns or raises, unless this raises. It must
                not raise, and delays others where it takes long.
            timeout_s: see there.
            priority: see there.
            queue_timeout_s: see there.
            watch: see there; it may be called after `done`.

        Raises:
            OverloadedError: see there.
            DeadlineError: there was no time at all.
            UnavailableError: the model was unloaded before.
        """
        entry = Entry(inputs, rows, monotonic_ns(), done=done)
        with self._lock:
            run = self._admit(entry, timeout_s, priority, queue_timeout_s)
        if run is not None and not self._turns.slow:
            self._turns.lead(entry, run)
            return
        if run is not None:
            self._turns.hand(entry, run)
        if watch is not None:
            watch(lambda: self._leave(entry))
        self._limit(entry, _limits(entry))

    async def submit(
        self,
        inputs: Tensors,
        rows: int,
        *,
        timeout_s: float | None = None,
        priority: int = 0,
        queue_timeout_s: float | None = None,
    ) -> Outputs:
        """As `submit_now`, for a coroutine; one that is cancelled leaves the queue."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outputs] = loop.create_future()
        entry = Entry(inputs, rows, monotonic_ns(), future=future)
        with self._lock:
            run = self._admit(entry, timeout_s, priority, queue_timeout_s)
        if run is not None:
            self._turns.hand(entry, run)
        timers = [
            loop.call_later((limit_ns - entry.since_ns) / 1e9, self._expire, entry, limit_ns)
            for limit_ns in _limits(entry)
        ]
        try:
            return await future
        except asyncio.CancelledError:
            self._leave(entry)
            raise
        finally:
            for timer in timers:
                timer.cancel()

    def _admit(
        self,
        entry: Entry,
        timeout_s: float | None,
        priority: int,
        queue_timeout_s: float | None,
    ) -> Run | None:
        """With the lock: gives a request an instance to lead with, or a place in the queue."""
        if self._closed:
            self._accounts.failed(entry.since_ns, Failure.OTHER)
            raise self._unloaded()
        if timeout_s is not None:
            self._admission.set_deadline(entry, timeout_s)
        run = self._turns.idle_instance()
        if run is not None:
            entry.stage = Stage.TAKEN
            if entry.future is not None or (entry.done is not None and self._turns.slow):
                entry.stage = Stage.LEADING  # others may come before the executor begins
                self._admission.note_shapes(entry)
            return run
        self._admission.check(entry, timeout_s, priority, queue_timeout_s)
        return self._turns.enter(entry)

    def _wait(self, entry: Entry, wake: threading.Lock) -> Run | None:
        """Blocks until a request is answered or given up, or is to lead: then with an instance."""
        for limit_ns in _limits(entry):
            if wake.acquire(timeout=max(0.0, (limit_ns - monotonic_ns()) / 1e9)):
                break
            with self._lock:
                self._turns.leave_late(entry, limit_ns)
                if entry.stage is Stage.GONE:
                    break
        else:
            wake.acquire()
        run, entry.run = entry.run, None
        return run

    def _expire(self, entry: Entry, limit_ns: int) -> None:
        """On the event loop: a limit of a request has passed."""
        with self._lock:
            self._turns.leave_late(entry, limit_ns)
        future = entry.future
        if entry.stage is Stage.GONE and entry.error and future and not future.done():
            future.set_exception(entry.error)

    def _limit(self, entry: Entry, limits: Sequence[int]) -> None:
        """Sees that a request with a callback keeps its limits, the next of which comes first."""
        if limits:
            entry.timer = TIMERS.at(limits[0], partial(self._expire_soon, entry, limits))
            if entry.stage in OVER:  # meanwhile; whoever ended it may not have seen the timer
                entry.timer.cancel()

    def _expire_soon(self, entry: Entry, limits: Sequence[int]) -> None:
        with self._lock:
            late = self._turns.leave_late(entry, limits[0])
        if late:
            tell(entry)
        elif entry.stage not in OVER:
            self._limit(entry, limits[1:])

    def _leave(self, entry: Entry) -> None:
        """The caller has left: the request holds no place, is not run, and its thread is freed."""
        if entry.stage in OVER:
            return
        error = CancelledError(f"the caller of model {self._model!r} has left")
        with self._lock:
            left = self._turns.leave(entry, error)
            if left:
                self._accounts.failed(entry.since_ns, Failure.CANCELED)
        if not left:
            return
        if entry.wake is not None:
            entry.wake.release()
        tell(entry)

    def _unloaded(self) -> UnavailableError:
        return UnavailableError(f"model {self._model!r} was unloaded")


def _limits(entry: Entry) -> list[int]:
    """When something happens to a request that still waits, in nanoseconds of the clock."""
    return sorted({entry.hard_ns, entry.deadline_ns} - {0})


def _result(entry: Entry) -> Outputs:
    error, entry.error = entry.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # or it would hold this frame, which holds it
    assert entry.outputs is not None  # it was answered
    return entry.outputs
