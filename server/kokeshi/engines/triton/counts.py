"""Triton's statistics messages as records."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kokeshi.engines.statistics import BatchStatistics, Failure, ModelStatistics, Spent
from kokeshi.engines.triton.served import Key
from kokeshi.engines.triton.watch import Watch

_TIMES: Final = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
)  # fmt: skip
_BATCH_TIMES: Final = ("compute_input", "compute_infer", "compute_output")


def counted(watches: Sequence[Watch], keys: Iterable[Key]) -> list[ModelStatistics]:
    """The newest statistics of each version, by name and version."""
    found = []
    for key in sorted(keys):
        messages = [watch.statistics[key] for watch in watches if key in watch.statistics]
        if messages:
            waiting = sum(watch.peer.waiting[key] for watch in watches)
            found.append(statistics_of(messages, waiting))
    return found


def statistics_of(messages: Iterable[Any], pending: int = 0) -> ModelStatistics:
    """The statistics of one version, summed over the servers that have it; at least one.

    Triton's gRPC does not say why requests failed, so all failures are OTHER.

    Args:
        messages: `inference.ModelStatistics`.
        pending: requests that wait for an answer.
    """
    total: ModelStatistics | None = None
    for message in messages:
        if total is None:
            total = ModelStatistics(message.name, int(message.version), pending=pending)
        _add(total, message)
    assert total is not None
    return total


def _add(total: ModelStatistics, message: Any) -> None:  # noqa: ANN401 - tritonclient is untyped
    total.last_inference_ms = max(total.last_inference_ms, message.last_inference)
    total.inference_count += message.inference_count
    total.execution_count += message.execution_count
    for name in _TIMES:
        _spend(getattr(total, name), getattr(message.inference_stats, name))
    total.failures[Failure.OTHER] += message.inference_stats.fail.count
    for batch in message.batch_stats:
        kept = total.batches.setdefault(int(batch.batch_size), BatchStatistics())
        for name in _BATCH_TIMES:
            _spend(getattr(kept, name), getattr(batch, name))


def _spend(total: Spent, message: Any) -> None:  # noqa: ANN401 - tritonclient is untyped
    total.add(message.ns, message.count)
