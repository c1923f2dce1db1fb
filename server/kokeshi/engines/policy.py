"""How a model's requests queue and merge: Triton's rules, in our units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kokeshi.engines.config import DynamicBatching, ModelConfig, QueuePolicy

# Triton's own default is no limit at all, which is a promise that no memory keeps.
MAX_QUEUE_REQUESTS: Final = 1024


@dataclass(frozen=True, slots=True)
class QueueRules:
    """Triton's ModelQueuePolicy: what may wait, and for how long."""

    timeout_s: float | None = None  # in the queue; None is no limit
    delay: bool = False  # what timed out runs after the rest of its level; False: it is refused
    allow_override: bool = False  # a request may bring a shorter timeout
    max_requests: int = 0  # 0: as the policy says

    def wait_s(self, asked_s: float | None) -> float | None:
        """How long a request may wait that asks for `asked_s`, or (None) asks for nothing.

        A request may shorten the wait, never lengthen it; no limit is longer than any.
        """
        if not (self.allow_override and asked_s):
            return self.timeout_s
        return asked_s if self.timeout_s is None else min(asked_s, self.timeout_s)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a model's requests are batched.

    Requests of a level run in the order in which they came. Each has an answer of its own, which is
    sent when it is there: `preserve_ordering` therefore only keeps a request from overtaking an
    older one whose rows have another shape.
    """

    max_rows: int = 1  # of a batch
    merge: bool = False  # False: each request runs alone (no `dynamic_batching`)
    preferred_rows: tuple[int, ...] = ()
    max_queue_delay_s: float = 0.0
    preserve_ordering: bool = False
    max_queue_requests: int = MAX_QUEUE_REQUESTS  # of a level that names no limit; 0: none
    priority_levels: int = 0  # 1 is served first; 0: no priorities
    default_level: int = 0
    rules: QueueRules = QueueRules()
    rules_by_level: Mapping[int, QueueRules] = field(default_factory=dict)
    instances: int = 1  # batches that run at once

    def level(self, priority: int) -> int:
        """The level of a request; a priority that there is not is the default one, as in Triton."""
        if not self.priority_levels:
            return 0
        return priority if 0 < priority <= self.priority_levels else self.default_level

    def rules_of(self, level: int) -> QueueRules:
        """What holds for a level."""
        return self.rules_by_level.get(level, self.rules)

    def limit_of(self, level: int) -> int:
        """How many requests may wait at a level; 0 is no limit."""
        return self.rules_of(level).max_requests or self.max_queue_requests


def policy_from(config: ModelConfig, max_queue_requests: int = MAX_QUEUE_REQUESTS) -> Policy:
    """The policy that a configuration asks for.

    Args:
        config: of the model.
        max_queue_requests: limit of the queues for which the configuration names none; 0: none.
    """
    at_once = instances(config)
    max_rows = max(1, config.max_batch_size)
    batching = config.dynamic_batching
    if batching is None:
        return Policy(max_rows=max_rows, max_queue_requests=max_queue_requests, instances=at_once)
    return Policy(
        max_rows=max_rows,
        merge=config.max_batch_size > 0,
        preferred_rows=tuple(rows for rows in batching.preferred_batch_size if rows <= max_rows),
        max_queue_delay_s=batching.max_queue_delay_microseconds / 1e6,
        preserve_ordering=batching.preserve_ordering,
        max_queue_requests=max_queue_requests,
        priority_levels=batching.priority_levels,
        default_level=_default_level(batching),
        rules=_rules(batching.default_queue_policy),
        rules_by_level={
            level: _rules(policy) for level, policy in batching.priority_queue_policy.items()
        },
        instances=at_once,
    )


def instances(config: ModelConfig) -> int:
    """Runs that a configuration wants at once, on all devices together."""
    counts = [(group.count or 1) * max(1, len(group.gpus)) for group in config.instance_group]
    return sum(counts) or 1


def _default_level(batching: DynamicBatching) -> int:
    """The level of requests that name none; the last, where the configuration names none either."""
    return batching.default_priority_level or batching.priority_levels


def _rules(policy: QueuePolicy) -> QueueRules:
    timeout_us = policy.default_timeout_microseconds
    return QueueRules(
        timeout_s=timeout_us / 1e6 if timeout_us else None,
        delay=policy.timeout_action == "DELAY",
        allow_override=policy.allow_timeout_override,
        max_requests=policy.max_queue_size,
    )
