"""Runs batches and tells each request what became of it."""

import logging
import threading
from collections.abc import Iterable
from copy import copy
from typing import Final

from kokeshi.engines.accounts import Accounts
from kokeshi.engines.batches import Outputs, Run, Times, run_batch
from kokeshi.engines.entries import OVER, Entry, Stage, wake
from kokeshi.engines.statistics import Failure
from kokeshi.errors import InferenceError, InvalidRequestError, KokeshiError

logger = logging.getLogger(__name__)

# Of the newest batch in the mean time of a batch.
NEWEST_SHARE: Final = 0.2


class Execution:
    """Runs batches of one model.

    Args:
        model: name, for messages.
        lock: of what is shared; taken here around what changes requests or accounts.
        accounts: where executions are counted.
    """

    def __init__(self, model: str, lock: "threading.Lock", accounts: Accounts) -> None:
        self.batch_ns = 0.0  # that a batch takes, on average; 0: none ran yet
        self._model = model
        self._lock = lock
        self._accounts = accounts

    def run(self, batch: list[Entry], run: Run) -> Times | None:
        """Runs a batch; where it fails, each of its requests alone, so that one fails no other."""
        if not batch:
            return None
        try:
            inputs = [entry.inputs for entry in batch]
            results, times = run_batch(run, inputs, [entry.rows for entry in batch])
        except KokeshiError as error:
            if isinstance(error, InvalidRequestError) and len(batch) > 1:
                self._run_apart(batch, run)  # one of them is wrong, and nobody knows which
                return None
            with self._lock:
                backend = isinstance(error, InferenceError)
                self.fail(batch, error, Failure.BACKEND if backend else Failure.OTHER)
        except Exception:
            logger.exception("model %s failed on a batch of %d", self._model, len(batch))
            self._run_apart(batch, run)
        else:
            with self._lock:
                self._answer(batch, results, times)
            return times
        return None

    def _run_apart(self, batch: list[Entry], run: Run) -> None:
        if len(batch) == 1:
            with self._lock:
                self.fail(batch, self.broken(), Failure.BACKEND)
            return
        for entry in batch:
            if entry.stage is Stage.TAKEN:
                times = self.run([entry], run)
                wake([entry])
                if times is not None:
                    self._accounts.observe([entry], times)

    def _answer(self, batch: list[Entry], results: list[Outputs], times: Times) -> None:
        answered = rows = since_ns = ran = 0
        for entry, result in zip(batch, results, strict=True):
            ran += entry.rows
            if entry.stage is Stage.TAKEN:
                entry.stage, entry.outputs = Stage.DONE, result
                answered += 1
                rows += entry.rows
                since_ns += entry.since_ns
        self._accounts.answered(answered, since_ns, rows, ran, times)
        took_ns = times.output_ns - times.start_ns
        share = NEWEST_SHARE if self.batch_ns else 1.0
        self.batch_ns += share * (took_ns - self.batch_ns)

    def fail(self, batch: Iterable[Entry], error: KokeshiError, reason: Failure) -> None:
        """With the lock: answers requests with an error."""
        for entry in batch:
            if entry.stage not in OVER:
                # A copy each: every thread that raises an error writes its traceback into it.
                entry.stage, entry.error = Stage.DONE, copy(error)
                self._accounts.failed(entry.since_ns, reason)

    def broken(self) -> InferenceError:
        """What a client learns of a model that failed; what the model said stays in the log."""
        return InferenceError(f"model {self._model!r} failed to run")
