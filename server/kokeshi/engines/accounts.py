"""What is counted about a model's requests: Triton's statistics and Kokeshi's own metrics."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from kokeshi import metrics
from kokeshi.engines.batches import Times
from kokeshi.engines.entries import Entry
from kokeshi.engines.statistics import BatchStatistics, Failure, ModelStatistics

_lengths: Final[dict[str, list[Callable[[], int]]]] = defaultdict(list)
_lengths_lock: Final = threading.Lock()


def show_queue(model: str, length: Callable[[], int]) -> None:
    """Adds a queue to the gauge of waiting requests, which versions of a model share."""
    with _lengths_lock:
        _lengths[model].append(length)
    # Read when it is asked for, so that a request that comes or goes pays nothing for it.
    metrics.QUEUE_REQUESTS.labels(model).set_function(lambda: _waiting(model))


def hide_queue(model: str, length: Callable[[], int]) -> None:
    """Takes a queue out of the gauge."""
    with _lengths_lock:
        if length in _lengths[model]:
            _lengths[model].remove(length)


def _waiting(model: str) -> int:
    with _lengths_lock:
        lengths = tuple(_lengths[model])
    return sum(length() for length in lengths)


class Accounts:
    """The books of one version of a model.

    Whoever calls what changes the statistics holds the scheduler's lock; `observe` needs none.
    """

    def __init__(self, model: str, statistics: ModelStatistics) -> None:
        self.statistics = statistics
        self._queue_seconds = metrics.STAGE_SECONDS.labels("queue", model)
        self._infer_seconds = metrics.STAGE_SECONDS.labels("infer", model)
        self._rows = metrics.BATCH_ROWS.labels(model)
        self._full = metrics.REFUSED.labels(model, "queue_full")
        self._late = metrics.REFUSED.labels(model, "deadline")

    def answered(self, answered: int, since_ns: int, rows: int, ran: int, times: Times) -> None:
        """Counts an execution.

        Args:
            answered: requests that had their answer from it.
            since_ns: sum of their arrival times.
            rows: their rows.
            ran: rows of the batch, with those of requests whose caller had left.
            times: of the execution.
        """
        books = self.statistics
        books.last_inference_ms = time.time_ns() // 1_000_000
        books.inference_count += rows
        books.execution_count += 1
        books.success.add(answered * times.output_ns - since_ns, answered)
        books.queue.add(answered * times.start_ns - since_ns, answered)
        batch = books.batches.get(ran)
        if batch is None:
            batch = books.batches[ran] = BatchStatistics()
        spent_ns = times.input_ns - times.start_ns
        books.compute_input.add(answered * spent_ns, answered)
        batch.compute_input.add(spent_ns)
        spent_ns = times.infer_ns - times.input_ns
        books.compute_infer.add(answered * spent_ns, answered)
        batch.compute_infer.add(spent_ns)
        spent_ns = times.output_ns - times.infer_ns
        books.compute_output.add(answered * spent_ns, answered)
        batch.compute_output.add(spent_ns)

    def failed(self, since_ns: int, reason: Failure) -> None:
        """Counts a request that had no answer, and came at `since_ns`."""
        self.statistics.fail.add(time.monotonic_ns() - since_ns)
        self.statistics.failures[reason] += 1

    def refused_full(self, since_ns: int) -> None:
        """Counts a request that found the queue too long."""
        self.failed(since_ns, Failure.REJECTED)
        self._full.inc()

    def refused_late(self, since_ns: int, *, ran: bool) -> None:
        """Counts a request whose time was over, in the queue or while it ran."""
        self.failed(since_ns, Failure.CANCELED if ran else Failure.REJECTED)
        self._late.inc()

    def hit(self, since_ns: int, lookup_ns: int) -> None:
        """Counts a request answered from the cache, which `lookup_ns` were spent on."""
        self.statistics.success.add(time.monotonic_ns() - since_ns)
        self.statistics.cache_hit.add(lookup_ns)

    def miss(self, spent_ns: int) -> None:
        """Counts a request that the cache had no answer to: time to look up and to insert."""
        self.statistics.cache_miss.add(spent_ns)
        self.statistics.success.ns += spent_ns

    def observe(self, batch: Iterable[Entry], times: Times) -> None:
        """Shows an execution in the metrics."""
        rows = 0
        for entry in batch:
            rows += entry.rows
            self._queue_seconds.observe((times.start_ns - entry.since_ns) / 1e9)
        self._rows.observe(rows)
        self._infer_seconds.observe((times.output_ns - times.start_ns) / 1e9)
