"""One run of a local tritonserver, with all that belongs to it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Final

from kokeshi.engines.triton.calls import Calls
from kokeshi.engines.triton.launch import HOST, Launch
from kokeshi.engines.triton.memory import Memory
from kokeshi.engines.triton.overseer import Overseer
from kokeshi.engines.triton.process import Process
from kokeshi.engines.triton.stub import Fall, Limits
from kokeshi.errors import SetupError, UnavailableError

LIVE_POLL_S: Final = 0.02


@dataclass(frozen=True)
class Timeouts:
    """How long the steps of starting may take."""

    start_s: float = 60.0  # until the server answers
    load_s: float = 3600.0  # of one model; an accelerator may build its engine in it


@dataclass
class Running:
    """A server that answers."""

    process: Process
    memory: Memory
    scratch: "TemporaryDirectory[str]"
    calls: Calls
    overseer: Overseer | None = None

    def oversee(
        self,
        limits: Limits,
        fell: Callable[[str, Fall], None],
        server_fell: Callable[[Fall], None],
    ) -> None:
        """Has it watched from now on."""
        self.overseer = Overseer(self.process, self.memory, self.calls, limits, fell, server_fell)

    def end(self) -> None:
        """Ends it; nothing is left of it."""
        if self.overseer is not None:
            self.overseer.close()
        self.calls.close()
        self.process.kill()
        self.memory.close()
        self.scratch.cleanup()


def begin(launch: Launch, within_s: float, closing: threading.Event) -> Running:
    """Starts a server and waits until it answers.

    Raises:
        SetupError: it ends, or does not answer in time; the message has its last words.
        UnavailableError: it is to be closed again.
    """
    memory = Memory()
    scratch = TemporaryDirectory(prefix="kokeshi-")
    try:
        process = launch.start(memory, scratch)
    except BaseException:
        memory.close()
        scratch.cleanup()
        raise
    running = Running(process, memory, scratch, Calls(f"{HOST}:{launch.port}"))
    try:
        _wait_until_live(running, within_s, closing)
    except BaseException:
        running.end()
        raise
    return running


def _wait_until_live(running: Running, within_s: float, closing: threading.Event) -> None:
    until = time.monotonic() + within_s
    while not running.calls.is_live():
        how = running.process.ended()
        if how is not None:
            raise SetupError(f"the tritonserver {how}: {running.process.last_error()}")
        if time.monotonic() > until:
            raise SetupError(f"the tritonserver did not answer in {within_s:g} s")
        if closing.wait(LIVE_POLL_S):
            raise UnavailableError("closing")
