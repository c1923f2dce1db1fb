"""One process that runs a model inside Triton, and whether it is well.

It is unwell when it ended, was stopped, shows no sign of life, or executes and gets nowhere. A
healthy process on a machine that has no core to spare shows no sign of life either, so time counts
against it only while it could have run: never while the thread that beats waits for a core.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kokeshi.engines.triton.backends.onnxruntime.kokeshi_heartbeat import INTERVAL_S, Pulse
from kokeshi.engines.triton.process import in_words
from kokeshi.engines.vitals import GONE, STOPPED, MemoryKills, Thread, threads, vitals

SUSPECT_S: Final = 2 * INTERVAL_S  # silence after which /proc is asked; before, nothing is
IDLE_SHARE: Final = 0.02  # of one core: what a process uses that only beats
_WAITS_FOR_CORE: Final = "R"
_WAITS_FOR_DISK: Final = "D"


@dataclass(frozen=True)
class Limits:
    """How long a process may be what it is, in seconds of time in which it could have run."""

    silence_s: float = 0.4  # without a beat, beyond `SUSPECT_S`
    standstill_s: float = 0.7  # executing on the CPU, with every thread asleep
    execution_s: float = 60.0  # one batch
    building_s: float = 3600.0  # the first batch where an accelerator may build its engine in it
    # Of a process whose model was unloaded. Where another process of the model died under load,
    # Triton keeps a reference to the model now and then, and would never end this one.
    retirement_s: float = 10.0


@dataclass(frozen=True)
class Fall:
    """Why a model process does not answer."""

    kind: str  # for metrics: "exited", "killed", "memory", "stopped", "wedged", "server"
    reason: str  # for people


class Stub:
    """Watches the process that writes one file of beats.

    Raises:
        OSError: the process, or its file, is gone.
        ValueError: the file is not whole yet.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.pid = int(path.name)
        self._limits = limits
        self._pulse = Pulse(path)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._pulse.close()
            raise
        serves = self._pulse.serves
        self.model = str(serves["model"])
        self._cpu_only = bool(serves["cpu_only"])
        self._beating_thread = serves["thread"]
        self._retired_s = float("inf")
        self._seen = self._pulse.read()
        self._quiet_s = self._silent_s = self._standing_s = self._executing_s = 0.0
        self._ran: dict[int, int] = {}

    @property
    def finished(self) -> bool:
        """Its model was unloaded; that it ends is wanted."""
        return self._pulse.read()[3]

    def retire(self) -> None:
        """Another took its place, or nobody: from now on it may end, and soon should."""
        self._retired_s = min(self._retired_s, time.monotonic())

    @property
    def retired(self) -> bool:
        """Whether what happens to it matters no more."""
        return self._retired_s < float("inf") or self.finished

    @property
    def overstays(self) -> bool:
        """Whether it should have ended by now: it is retired, idle, and still there."""
        idle = self._pulse.read()[1] == 0
        return idle and time.monotonic() - self._retired_s > self._limits.retirement_s

    def check(self, passed_s: float) -> Fall | None:
        """Looks again, after some seconds; returns what is wrong.

        Args:
            passed_s: since the last look, and no more than a look should take: a watcher that had
                no core itself has nothing to say about the time it slept.
        """
        before, self._seen = self._seen, self._pulse.read()
        beat = self._seen[0] != before[0]
        executing = self._seen[1] != 0 and self._seen[1:3] == before[1:3]
        self._quiet_s = 0.0 if beat else self._quiet_s + passed_s
        self._silent_s = 0.0 if beat else self._silent_s
        self._executing_s = self._executing_s + passed_s if executing else 0.0
        self._standing_s = self._standing_s if executing else 0.0
        if max(self._quiet_s, self._executing_s) < SUSPECT_S:
            self._ran = {}
            return None
        return self._look_closer(passed_s)

    def _look_closer(self, passed_s: float) -> Fall | None:
        now = vitals(self.pid)
        if now is None or now.state in GONE:
            return None  # its pidfd tells, with the reason
        if now.state == STOPPED:
            return Fall("stopped", "its process was stopped by a signal")
        tasks = threads(self.pid)
        if self._quiet_s >= SUSPECT_S:
            self._silent_s += self._could_have_beaten_s(tasks, passed_s)
        if self._executing_s:
            asleep = self._is_asleep(tasks, passed_s)
            self._standing_s = self._standing_s + passed_s if asleep else 0.0
        self._ran = {tid: one.ran_ns for tid, one in tasks.items() if one.ran_ns is not None}
        return self._verdict()

    def _verdict(self) -> Fall | None:
        limits = self._limits
        first = self._seen[2] == 0 and not self._cpu_only
        longest_s = limits.building_s if first else limits.execution_s
        if self._silent_s > limits.silence_s:
            return Fall("wedged", "its process is alive and gives no sign of life")
        if self._cpu_only and self._standing_s > limits.standstill_s:
            return Fall("wedged", "its process stands still in the middle of an execution")
        if self._executing_s > longest_s:
            return Fall("wedged", f"one execution takes longer than {longest_s:g} s")
        return None

    def _could_have_beaten_s(self, tasks: dict[int, Thread], passed_s: float) -> float:
        beating = tasks.get(int(str(self._beating_thread)))
        if beating is not None and beating.state == _WAITS_FOR_CORE:
            return 0.0
        others = [one.state for one in tasks.values()]
        if _WAITS_FOR_CORE in others:  # somebody keeps the interpreter: count what it computed
            return min(passed_s, self._most_ran_s(tasks))
        return 0.0 if _WAITS_FOR_DISK in others else passed_s

    def _is_asleep(self, tasks: dict[int, Thread], passed_s: float) -> bool:
        busy = {one.state for one in tasks.values()} & {_WAITS_FOR_CORE, _WAITS_FOR_DISK}
        return not busy and self._most_ran_s(tasks) < IDLE_SHARE * passed_s

    def _most_ran_s(self, tasks: dict[int, Thread]) -> float:
        """What the busiest thread computed since the last close look; 0 at the first one."""
        ran = (
            one.ran_ns - self._ran.get(tid, one.ran_ns)
            for tid, one in tasks.items()
            if one.ran_ns is not None
        )
        return max(ran, default=0) / 1e9

    def post_mortem(self, kills: MemoryKills) -> Fall:
        """Why it ended, asked before Triton reaps it; then nobody knows any more."""
        now = vitals(self.pid)
        if now is None or now.state not in GONE:
            return Fall("exited", "its process ended")
        code = os.waitstatus_to_exitcode(now.exit_status)
        if code == -signal.SIGKILL and kills.happened():
            return Fall("memory", "its process was killed while the machine was out of memory")
        return Fall("exited" if code >= 0 else "killed", f"its process {in_words(code)}")

    def close(self) -> None:
        """Lets go of it."""
        os.close(self.pidfd)
        self._pulse.close()
