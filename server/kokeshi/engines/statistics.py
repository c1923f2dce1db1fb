"""What happened to the requests of one version of a model, in Triton's terms.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final


class Failure(StrEnum):
    """Why a request was not answered: the label `reason` of nv_inference_request_failure."""

    REJECTED = "REJECTED"  # refused by the queue: full, or its timeout passed
    CANCELED = "CANCELED"
    BACKEND = "BACKEND"  # the graph failed
    OTHER = "OTHER"


@dataclass(slots=True)
class Spent:
    """How often something was done, and the time it took together."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Adds `count` times with `ns` nanoseconds together."""
        self.count += count
        self.ns += ns

    def copy(self) -> "Spent":
        """A copy."""
        return Spent(self.count, self.ns)


@dataclass(slots=True)
class BatchStatistics:
    """Executions of one batch size."""

    compute_input: Spent = field(default_factory=Spent)
    compute_infer: Spent = field(default_factory=Spent)
    compute_output: Spent = field(default_factory=Spent)

    def copy(self) -> "BatchStatistics":
        """A copy that changes no more."""
        return BatchStatistics(
            self.compute_input.copy(), self.compute_infer.copy(), self.compute_output.copy()
        )


@dataclass(slots=True)
class ModelStatistics:
    """Counts are of requests, but for `inference_count` (rows) and `execution_count` (batches).

    Whoever writes holds its owner's lock; readers take a copy.
    """

    name: str
    version: int
    last_inference_ms: int = 0  # Unix time
    inference_count: int = 0
    execution_count: int = 0
    success: Spent = field(default_factory=Spent)
    fail: Spent = field(default_factory=Spent)
    queue: Spent = field(default_factory=Spent)
    compute_input: Spent = field(default_factory=Spent)
    compute_infer: Spent = field(default_factory=Spent)
    compute_output: Spent = field(default_factory=Spent)
    cache_hit: Spent = field(default_factory=Spent)
    cache_miss: Spent = field(default_factory=Spent)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)  # by rows
    failures: dict[Failure, int] = field(default_factory=lambda: dict.fromkeys(Failure, 0))
    pending: int = 0  # requests that wait now

    def copy(self, pending: int) -> "ModelStatistics":
        """A copy that changes no more, with the requests that wait now."""
        return replace(
            self,
            pending=pending,
            batches={rows: batch.copy() for rows, batch in self.batches.items()},
            failures=dict(self.failures),
            **{name: getattr(self, name).copy() for name in _SPENT},
        )


_SPENT: Final = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
)  # fmt: skip
