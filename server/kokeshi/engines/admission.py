"""Who may wait for a model, and for how long."""

from typing import Final

from kokeshi.engines.accounts import Accounts
from kokeshi.engines.entries import Entry
from kokeshi.engines.policy import Policy
from kokeshi.engines.turns import Turns
from kokeshi.errors import DeadlineError, OverloadedError

# What a client is told to wait at least, and where nothing has been measured yet.
SHORTEST_RETRY_S: Final = 0.05
UNMEASURED_RETRY_S: Final = 1.0


class Admission:
    """Refuses requests that would wait in vain; called with the lock.

    Args:
        model: name, for messages.
        policy: limits of the queue.
        turns: what waits and runs.
        accounts: where refusals are counted.
    """

    def __init__(self, model: str, policy: Policy, turns: Turns, accounts: Accounts) -> None:
        self._model = model
        self._policy = policy
        self._turns = turns
        self._accounts = accounts

    def set_deadline(self, entry: Entry, timeout_s: float) -> None:
        """Notes when the caller stops waiting.

        Raises:
            DeadlineError: it has.
        """
        if timeout_s <= 0:
            self._accounts.refused_late(entry.since_ns, ran=False)
            raise DeadlineError(f"model {self._model!r} did not answer in time")
        limit_ns = entry.since_ns + int(timeout_s * 1e9)
        entry.deadline_ns = entry.hard_ns = entry.limit_ns = limit_ns

    def check(
        self,
        entry: Entry,
        timeout_s: float | None,
        priority: int,
        queue_timeout_s: float | None,
    ) -> None:
        """Prepares a request for the queue.

        Raises:
            OverloadedError: it would wait in vain.
        """
        entry.level = self._policy.level(priority)
        self._refuse_what_waits_in_vain(entry, timeout_s)
        self._set_limits(entry, queue_timeout_s)
        self.note_shapes(entry)

    def note_shapes(self, entry: Entry) -> None:
        """Prepares a request for a batch with others."""
        if self._policy.merge:
            entry.shapes = {name: values.shape[1:] for name, values in entry.inputs.items()}

    def _refuse_what_waits_in_vain(self, entry: Entry, timeout_s: float | None) -> None:
        if full := self._turns.waiting.full(entry.level):
            self._accounts.refused_full(entry.since_ns)
            retry_s = self._retry_s(entry.level)
            raise OverloadedError(f"{full} requests wait for model {self._model!r}", retry_s)
        if timeout_s is None or not self._turns.waiting:
            return
        wait_s = self._wait_s(entry.level, entry.rows)
        if wait_s > timeout_s:
            self._accounts.refused_full(entry.since_ns)
            raise OverloadedError(
                f"model {self._model!r} would answer in about {wait_s:.3g} s, which is more than "
                f"the {timeout_s:.3g} s that the request has",
                self._retry_s(entry.level),
            )

    def _set_limits(self, entry: Entry, queue_timeout_s: float | None) -> None:
        rules = self._policy.rules_of(entry.level)
        wait_s = rules.wait_s(queue_timeout_s)
        if wait_s is None:
            return
        limit_ns = entry.since_ns + int(wait_s * 1e9)
        entry.limit_ns = min(limit_ns, entry.deadline_ns or limit_ns)
        if not rules.delay:
            entry.hard_ns = entry.limit_ns

    def _wait_s(self, level: int, rows: int) -> float:
        """Estimates when a new request of a level has its answer; 0: nothing was measured yet.

        What runs now is left out, so that an estimate errs in favour of the request.
        """
        waiting, policy = self._turns.waiting, self._policy
        if policy.merge:
            batches = -(-(waiting.rows_before(level) + rows) // policy.max_rows)
        else:
            batches = waiting.requests_before(level) + 1
        return batches * self._turns.batch_ns / self._turns.instances / 1e9

    def _retry_s(self, level: int) -> float:
        wait_s = self._wait_s(level, 0)
        return max(wait_s, SHORTEST_RETRY_S) if wait_s else UNMEASURED_RETRY_S
