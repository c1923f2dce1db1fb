"""Whether a version of a model really answers at one address, which Triton itself does not notice.

Triton says READY for ever of a model whose process died (server#8604, #7230), so answers are judged
here: a text that says that the process is gone, failures in a row, or silence while something
waits. A version in doubt is probed with one row of zeros, off the request path; one that failed is
refused until a probe is answered.
"""

import time
from dataclasses import dataclass, field
from typing import Final

from kokeshi.engines.triton.faults import Fault

FAILURES_TO_DOUBT: Final = 3  # answers INTERNAL in a row
TRIAL_EVERY_S: Final = 1.0
DIED: Final = "the process that runs it died"


@dataclass(eq=False)
class Health:
    """Of one version of one model at one address.

    Methods may be called from any thread. An update lost between two delays a verdict by one
    answer. Those that return a bool say whether the verdict has changed.

    Args:
        silence_timeout_s: how long something may wait with no answer at all before it is probed.
    """

    silence_timeout_s: float
    failed: str = ""  # why it is not asked
    doubted: bool = False  # a probe is to decide
    _failures: int = 0
    _fails: bool = False  # the verdict is of failures, so one good answer refutes it
    _unanswered: bool = False  # a request ran into its deadline since the last answer
    _progress_s: float = field(default_factory=time.monotonic)
    _executions: int = 0
    _tried_s: float = 0.0

    def sent(self, waiting: int) -> None:
        """A request leaves; `waiting` were under way before it."""
        if not (waiting or self._unanswered):
            self._progress_s = time.monotonic()

    def answered(self) -> bool:
        """An answer came."""
        changed = bool(self.failed)
        self._progressed()
        self._failures, self.failed, self.doubted, self._fails = 0, "", False, False
        return changed

    def _progressed(self) -> None:
        self._unanswered = False
        self._progress_s = time.monotonic()

    def faulted(self, fault: Fault) -> bool:
        """A request failed."""
        if fault.process_died:
            return self._fail(DIED)
        if fault.code == "DEADLINE_EXCEEDED":
            self._unanswered = True
        elif fault.code == "INTERNAL" and not fault.elsewhere:
            self._progressed()
            self._failures += 1
            self.doubted = self.doubted or self._failures >= FAILURES_TO_DOUBT
        return False

    def _fail(self, reason: str, *, fails: bool = False) -> bool:
        changed, self.failed = self.failed != reason, reason
        self.doubted, self._fails = True, fails
        return changed

    def executed(self, executions: int, waiting: int) -> None:
        """The server counts so many executions, and so many of our requests are under way."""
        if executions != self._executions:
            self._executions = executions
            self._progressed()
        if (waiting or self._unanswered) and self._quiet_s() > self.silence_timeout_s:
            self.doubted = True

    def _quiet_s(self) -> float:
        return time.monotonic() - self._progress_s

    def probed(self, fault: Fault | None) -> bool:
        """A probe was answered (None), or not."""
        if fault is None:
            return self.answered()
        if fault.process_died:
            return self._fail(DIED)
        if fault.code == "INTERNAL":
            return self._fail(f"it fails: {fault.reason}", fails=True)
        if fault.code == "DEADLINE_EXCEEDED" and self._quiet_s() > self.silence_timeout_s:
            return not self.failed and self._fail(f"no answer for {self._quiet_s():.0f} s")
        self.doubted = bool(self.failed)  # it is busy, or the server is gone: others say so
        return False

    def trial(self) -> bool:
        """Whether one request goes to a version that failed all the same.

        Zeros may be what a graph cannot take: the probe alone would then keep it out for ever.
        """
        now_s = time.monotonic()
        if not self._fails or now_s - self._tried_s < TRIAL_EVERY_S:
            return False
        self._tried_s = now_s
        return True
