"""A loaded version: checks requests, looks into the cache, queues, runs, counts."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic_ns
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from kokeshi.engines.cache import ResponseCache, key_of
from kokeshi.engines.entries import call_back
from kokeshi.engines.loading import Loaded
from kokeshi.engines.memory import give_back
from kokeshi.engines.policy import policy_from
from kokeshi.engines.protocol import Done, ModelStatus, Request, State, Tensors, Watch
from kokeshi.engines.scheduler import Scheduler
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.errors import UnavailableError

Outputs = dict[str, NDArray[Any]]


@runtime_checkable
class Restarting(Protocol):
    """A runtime that may die, and that somebody starts again."""

    def watch(self, fell: Callable[[str], None], rose: Callable[[], None]) -> None:
        """Asks to be told, on any thread: `fell` with the reason, `rose` when it runs again."""


class Version:
    """Answers requests, from any thread, until it is closed.

    Args:
        loaded: what runs.
        cache: where answers are kept, if they are.
        fell: told, on any thread, why what ran the graph is gone.
        max_queue_requests: limit of the queues for which the configuration names none; 0: none.
    """

    def __init__(
        self,
        loaded: Loaded,
        cache: ResponseCache | None,
        fell: Callable[["Version", str], None],
        max_queue_requests: int,
    ) -> None:
        entry = loaded.entry
        policy = policy_from(entry.config, max_queue_requests)
        if entry.override:
            entry.override.hold()
        self.loaded = loaded
        self.up = True  # False: what runs it is gone, and may come back
        self._checks = loaded.checks
        self._cache = cache if loaded.fingerprint else None
        named = {tensor.name for tensor in loaded.entry.config.output}
        given = [value.name for value in loaded.runtime.outputs]
        # what is in the graph and not in the configuration is nobody's to see
        self._all = tuple(name for name in given if name in named) if named != set(given) else ()
        # for each instance one that runs, and one that still writes the answers of the batch before
        self._executor = ThreadPoolExecutor(2 * policy.instances, f"infer {entry.name}")
        self._runner = _Runner(loaded, lambda reason: fell(self, reason))
        self._scheduler = Scheduler(entry.name, entry.version, self._runner, policy, self._executor)

    def start(self) -> None:
        """Begins to answer; on the event loop."""
        self._scheduler.start()

    def answer_now(self, request: Request, watch: Watch | None = None) -> Outputs:
        """See `Engine.infer_now`."""
        rows = self._checks.rows(request.inputs)
        wanted = self._wanted(request)
        if self._cache is None:
            return self._run_now(request, rows, wanted, watch)
        kept = Kept(self._cache, self.loaded.fingerprint, request.inputs, wanted)
        if kept.found is not None:
            self._scheduler.count_hit(kept.since_ns, kept.ns)
            return kept.found
        outputs = self._run_now(request, rows, wanted, watch)
        self._scheduler.count_miss(kept.keep(outputs))
        return outputs

    def answer_soon(self, request: Request, done: Done, watch: Watch | None = None) -> None:
        """See `AnswersSoon.infer_soon`; raises what is known before the request was queued."""
        rows = self._checks.rows(request.inputs)
        wanted = self._wanted(request)
        if self._cache is None:
            self._run_soon(request, rows, wanted, done, watch)
            return
        kept = Kept(self._cache, self.loaded.fingerprint, request.inputs, wanted)
        if kept.found is not None:
            self._scheduler.count_hit(kept.since_ns, kept.ns)
            call_back(done, kept.found)
            return

        def keep(answer: Outputs | Exception) -> None:
            if not isinstance(answer, Exception):
                self._scheduler.count_miss(kept.keep(answer))
            done(answer)

        self._run_soon(request, rows, wanted, keep, watch)

    async def answer(self, request: Request) -> Outputs:
        """See `Engine.infer`."""
        rows = self._checks.rows(request.inputs)
        wanted = self._wanted(request)
        if self._cache is None:
            return await self._run(request, rows, wanted)
        inputs, fingerprint = request.inputs, self.loaded.fingerprint
        kept = await asyncio.to_thread(Kept, self._cache, fingerprint, inputs, wanted)
        if kept.found is not None:
            self._scheduler.count_hit(kept.since_ns, kept.ns)
            return kept.found
        outputs = await self._run(request, rows, wanted)
        self._scheduler.count_miss(await asyncio.to_thread(kept.keep, outputs))
        return outputs

    def _wanted(self, request: Request) -> Sequence[str]:
        if request.outputs:
            self._checks.outputs(request.outputs)
            return request.outputs
        return self._all

    def _run_now(
        self, request: Request, rows: int, wanted: Sequence[str], watch: Watch | None
    ) -> Outputs:
        results = self._scheduler.submit_now(
            request.inputs,
            rows,
            timeout_s=request.timeout_s,
            priority=request.priority,
            queue_timeout_s=request.queue_timeout_s,
            watch=watch,
        )
        return {name: results[name] for name in wanted} if wanted else results

    def _run_soon(
        self, request: Request, rows: int, wanted: Sequence[str], done: Done, watch: Watch | None
    ) -> None:
        def choose(answer: Outputs | Exception) -> None:
            if not isinstance(answer, Exception):
                answer = {name: answer[name] for name in wanted}
            done(answer)

        self._scheduler.submit_soon(
            request.inputs,
            rows,
            choose if wanted else done,
            timeout_s=request.timeout_s,
            priority=request.priority,
            queue_timeout_s=request.queue_timeout_s,
            watch=watch,
        )

    async def _run(self, request: Request, rows: int, wanted: Sequence[str]) -> Outputs:
        results = await self._scheduler.submit(
            request.inputs,
            rows,
            timeout_s=request.timeout_s,
            priority=request.priority,
            queue_timeout_s=request.queue_timeout_s,
        )
        return {name: results[name] for name in wanted} if wanted else results

    def statistics(self) -> ModelStatistics:
        """What happened so far."""
        return self._scheduler.statistics()

    def status(self) -> ModelStatus:
        """Its state while what runs it runs."""
        entry, why = self.loaded.entry, self.loaded.degraded
        state = State.DEGRADED if why else State.READY
        return ModelStatus(entry.name, entry.version, state, why, self.loaded.card)

    async def close(self, drain_timeout_s: float) -> None:
        """Answers what was asked, refuses what is asked now, and gives the memory back."""
        await self._scheduler.close(drain_timeout_s=drain_timeout_s)
        self._executor.shutdown(wait=False)
        await asyncio.to_thread(self._runner.close)
        if override := self.loaded.entry.override:
            await asyncio.to_thread(override.release)


class Kept:
    """One look into the cache: what was found, and where to put what was not.

    Args:
        cache: to look into.
        fingerprint: of what answers.
        inputs: by name.
        outputs: names wanted.
    """

    def __init__(
        self, cache: ResponseCache, fingerprint: str, inputs: Tensors, outputs: Sequence[str]
    ) -> None:
        self.since_ns = monotonic_ns()
        self._cache = cache
        self._key = key_of(fingerprint, inputs, outputs)
        self.found = cache.get(self._key)
        self.ns = monotonic_ns() - self.since_ns

    def keep(self, outputs: Outputs) -> int:
        """Keeps an answer; returns the nanoseconds that looking and keeping took."""
        started_ns = monotonic_ns()
        self._cache.put(self._key, outputs)
        return self.ns + monotonic_ns() - started_ns


class _Runner:
    """Runs batches; tells when what runs them is gone, and closes it when none runs any more.

    Args:
        loaded: what runs.
        fell: told why it is gone.
    """

    def __init__(self, loaded: Loaded, fell: Callable[[str], None]) -> None:
        self._run = loaded.run
        self._runtime = loaded.runtime
        self._fell = fell
        self._running: list[None] = []  # one for each batch: appending and popping need no lock
        self._closing = False

    def __call__(self, inputs: Tensors) -> Outputs:
        self._running.append(None)
        try:
            return self._run(inputs)
        except UnavailableError as error:
            self._fell(str(error))
            raise
        finally:
            self._running.pop()
            if self._closing:
                self.close()

    def close(self) -> None:
        """Gives the memory back, now or when the last batch has run."""
        self._closing = True
        if not self._running:
            self._runtime.close()
            give_back()
