"""One model's queue: merges waiting requests into batches by Triton's dynamic-batching rules."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kokeshi import metrics
from kokeshi.errors import (
    DeadlineError,
    InferenceError,
    KokeshiError,
    OverloadedError,
    UnavailableError,
)

logger = logging.getLogger(__name__)
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Policy:
    """How a model's requests are batched; the names are Triton's, the units are in ours."""

    max_rows: int = 1  # of a batch
    merge: bool = False  # False: each request runs alone (no `dynamic_batching`)
    preferred_rows: tuple[int, ...] = ()
    max_queue_delay_s: float = 0.0
    max_queue_requests: int = 0  # 0: no limit
    default_timeout_s: float | None = None
    instances: int = 1  # batches that run at once


@dataclass(eq=False)
class _Pending:
    inputs: Tensors
    rows: int
    future: "asyncio.Future[dict[str, NDArray[Any]]]"
    since_s: float = field(default_factory=time.monotonic)


class Scheduler:
    """Queues requests for `run` and executes them in batches on threads.

    Args:
        model: name, for messages and metrics.
        run: executes one batch, tensors by name to outputs by name; called on `executor`.
        policy: batching rules.
        executor: threads, at least `policy.instances`.
    """

    def __init__(
        self,
        model: str,
        run: Callable[[Tensors], dict[str, NDArray[Any]]],
        policy: Policy,
        executor: Executor,
    ) -> None:
        self._model = model
        self._run = run
        self._policy = policy
        self._executor = executor
        self._queue: deque[_Pending] = deque()
        self._arrived = asyncio.Condition()
        self._closed = False
        self._counted = 0  # requests of this queue in the gauge, which versions of a model share
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts one worker task per instance, on the running event loop."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._policy.instances)]

    async def close(self) -> None:
        """Lets running batches finish and refuses what waits."""
        self._closed = True
        async with self._arrived:
            self._arrived.notify_all()
        await asyncio.gather(*self._workers)
        while self._queue:
            _fail(self._queue.popleft(), UnavailableError(f"model {self._model!r} was unloaded"))
        self._count_queue()

    async def submit(
        self, inputs: Tensors, rows: int, timeout_s: float | None = None
    ) -> dict[str, NDArray[Any]]:
        """Waits for a place in a batch and for its outputs, each (rows, ...).

        Raises:
            OverloadedError: the queue is full.
            DeadlineError: the timeout passed; a request that still waited is not run.
            UnavailableError: the model was unloaded.
            InferenceError: the graph failed.
        """
        self._refuse_what_cannot_wait()
        pending = _Pending(inputs, rows, asyncio.get_running_loop().create_future())
        async with self._arrived:
            self._queue.append(pending)
            self._count_queue()
            self._arrived.notify()
        limit_s = self._policy.default_timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await pending.future
        except TimeoutError:
            metrics.REFUSED.labels(self._model, "deadline").inc()
            raise DeadlineError(f"model {self._model!r} did not answer in time") from None
        finally:
            self._forget(pending)

    def _refuse_what_cannot_wait(self) -> None:
        if self._closed:
            raise UnavailableError(f"model {self._model!r} was unloaded")
        limit = self._policy.max_queue_requests
        if limit and len(self._queue) >= limit:
            metrics.REFUSED.labels(self._model, "queue_full").inc()
            raise OverloadedError(f"{limit} requests wait for model {self._model!r} already")

    def _forget(self, pending: _Pending) -> None:
        """Sees that a client who left is not served, and holds no place in the queue."""
        pending.future.cancel()
        if pending.future.cancelled():  # and was not answered
            with suppress(ValueError):  # it was taken
                self._queue.remove(pending)
                self._count_queue()

    def _count_queue(self) -> None:
        metrics.QUEUE_REQUESTS.labels(self._model).inc(len(self._queue) - self._counted)
        self._counted = len(self._queue)

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                await self._execute(batch)
            elif self._closed:
                return

    async def _next_batch(self) -> list[_Pending]:
        async with self._arrived:
            await self._arrived.wait_for(lambda: self._queue or self._closed)
            await self._wait_for_more()
            batch = [] if self._closed else self._take()
            self._count_queue()
            return batch

    async def _wait_for_more(self) -> None:
        """Waits until the queue fills a batch or its oldest request has waited long enough."""
        policy = self._policy
        if not (policy.merge and policy.max_queue_delay_s):
            return
        wanted = max(policy.preferred_rows, default=policy.max_rows)
        while self._queue and not self._closed:
            left_s = self._queue[0].since_s + policy.max_queue_delay_s - time.monotonic()
            if left_s <= 0 or sum(pending.rows for pending in self._queue) >= wanted:
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Pending]:
        """The oldest requests that fit one batch, a preferred size where the queue holds one."""
        batch: list[_Pending] = []
        limit = self._rows_to_take()
        rows = 0
        while self._queue:
            pending = self._queue[0]
            if pending.future.done():
                self._queue.popleft()
                continue
            if batch and (not self._policy.merge or rows + pending.rows > limit):
                break
            batch.append(self._queue.popleft())
            rows += pending.rows
        return batch

    def _rows_to_take(self) -> int:
        waiting = sum(pending.rows for pending in self._queue if not pending.future.done())
        fitting = [rows for rows in self._policy.preferred_rows if rows <= waiting]
        return max(fitting, default=self._policy.max_rows)

    async def _execute(self, batch: list[_Pending]) -> None:
        started_s = time.monotonic()
        for pending in batch:
            wait_s = started_s - pending.since_s
            metrics.STAGE_SECONDS.labels("queue", self._model).observe(wait_s)
        metrics.BATCH_ROWS.labels(self._model).observe(sum(pending.rows for pending in batch))
        await self._answer(batch)
        taken_s = time.monotonic() - started_s
        metrics.STAGE_SECONDS.labels("infer", self._model).observe(taken_s)

    async def _answer(self, batch: list[_Pending]) -> None:
        """Runs a batch; where it fails, each of its requests alone, so that one fails no other."""
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._executor, self._run_batch, batch)
        except Exception as error:
            logger.exception("model %s failed on a batch of %d", self._model, len(batch))
            if len(batch) == 1:
                _fail(batch[0], _as_inference_error(self._model, error))
                return
            for pending in batch:
                if not pending.future.done():
                    await self._answer([pending])
            return
        for pending, result in zip(batch, outputs, strict=True):
            if not pending.future.done():
                pending.future.set_result(result)

    def _run_batch(self, batch: list[_Pending]) -> list[dict[str, NDArray[Any]]]:
        if len(batch) == 1:
            return [self._run(batch[0].inputs)]
        names = batch[0].inputs
        merged = {
            name: np.concatenate([pending.inputs[name] for pending in batch]) for name in names
        }
        outputs = self._run(merged)
        ends = np.cumsum([pending.rows for pending in batch])[:-1]
        parts = {name: np.split(values, ends) for name, values in outputs.items()}
        return [{name: parts[name][i] for name in parts} for i in range(len(batch))]


def _as_inference_error(model: str, error: Exception) -> KokeshiError:
    """The client learns that the model failed; what it said stays in the log."""
    if isinstance(error, KokeshiError):
        return error
    return InferenceError(f"model {model!r} failed to run")


def _fail(pending: _Pending, error: KokeshiError) -> None:
    if not pending.future.done():
        pending.future.set_exception(error)
