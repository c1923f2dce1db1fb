"""Oversees one tritonserver and the model processes inside it, on a thread of its own.

A thread, because what it has to say matters most while the event loop is held up.
"""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from kokeshi.engines.triton.calls import Calls
from kokeshi.engines.triton.memory import Memory
from kokeshi.engines.triton.process import Process
from kokeshi.engines.triton.stub import Fall, Limits, Stub
from kokeshi.engines.vitals import GONE, STOPPED, MemoryKills, vitals

logger = logging.getLogger(__name__)

TICK_S: Final = 0.1
PING_INTERVAL_S: Final = 0.5
SERVER_SILENCE_S: Final = 10.0  # unanswered pings after which the server is wedged
END_WAIT_S: Final = 2.0


class Overseer:
    """Tells of every fall once, on its own thread.

    Args:
        process: the server.
        memory: where its model processes beat.
        calls: a channel to the server, for pings.
        limits: of the model processes.
        fell: is told the model and why.
        server_fell: is told why; it is the last word.
    """

    def __init__(
        self,
        process: Process,
        memory: Memory,
        calls: Calls,
        limits: Limits,
        fell: Callable[[str, Fall], None],
        server_fell: Callable[[Fall], None],
    ) -> None:
        self._process = process
        self._memory = memory
        self._calls = calls
        self._limits = limits
        self._fell = fell
        self._server_fell = server_fell
        self._kills = MemoryKills()
        self._stubs: dict[int, Stub] = {}
        self._known: set[str] = set()
        self._answered = time.monotonic()
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._waiting = select.poll()
        self._waiting.register(self._wake, select.POLLIN)
        self._threads = [
            threading.Thread(target=self._oversee, name="triton-overseer", daemon=True),
            threading.Thread(target=self._ping, name="triton-ping", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join()
        os.close(self._wake)

    def _ping(self) -> None:
        while not self._stopping.wait(PING_INTERVAL_S):
            if self._calls.is_live():
                self._answered = time.monotonic()

    def _oversee(self) -> None:
        try:
            self._look_until_the_end()
        except Exception:  # whatever it was: a server that nobody watches is not to be trusted
            logger.exception("overseeing the tritonserver failed")
            self._server_fell(Fall("server", "overseeing the tritonserver failed"))
        finally:
            for stub in self._stubs.values():
                stub.close()

    def _look_until_the_end(self) -> None:
        looked = time.monotonic()
        while not self._stopping.is_set():
            ready = {fd for fd, _ in self._waiting.poll(TICK_S * 1000)}
            if self._stopping.is_set():
                return
            if fall := self._server_state():
                self._server_fell(fall)
                return
            passed_s = min(time.monotonic() - looked, 2 * TICK_S)
            looked = time.monotonic()
            self._find_new()
            for stub in list(self._stubs.values()):
                self._examine(stub, passed_s, ended=stub.pidfd in ready)

    def _server_state(self) -> Fall | None:
        now = vitals(self._process.pid)
        if now is None or now.state in GONE:
            return Fall("server", f"the tritonserver {self._end()}")
        if now.state == STOPPED:
            return Fall("stopped", "the tritonserver was stopped by a signal")
        if time.monotonic() - self._answered > SERVER_SILENCE_S:
            return Fall("wedged", f"the tritonserver did not answer for {SERVER_SILENCE_S:g} s")
        return None

    def _end(self) -> str:
        until = time.monotonic() + END_WAIT_S
        while (how := self._process.ended()) is None and time.monotonic() < until:
            time.sleep(0.01)  # its keeper is cleaning up
        return how or "ended"

    def _find_new(self) -> None:
        with os.scandir(self._memory.heartbeats) as entries:
            names = {entry.name for entry in entries}
        for name in names - self._known:
            try:
                stub = Stub(self._memory.heartbeats / name, self._limits)
            except ValueError:  # it is being written
                continue
            except OSError:  # gone before it was seen: Triton itself says that a load failed
                self._known.add(name)
                continue
            self._known.add(name)
            self._stubs[stub.pid] = stub
            self._waiting.register(stub.pidfd, select.POLLIN)

    def _examine(self, stub: Stub, passed_s: float, *, ended: bool) -> None:
        fall = None
        if not stub.retired:
            fall = stub.post_mortem(self._kills) if ended else stub.check(passed_s)
        if not (ended or fall or stub.overstays):
            return
        self._waiting.unregister(stub.pidfd)
        del self._stubs[stub.pid]
        if not ended:  # Triton waits for one that fell
            signal.pidfd_send_signal(stub.pidfd, signal.SIGKILL)
        stub.close()
        name = str(stub.pid)  # which another process may get
        (self._memory.heartbeats / name).unlink(missing_ok=True)
        self._known.discard(name)
        if fall:
            self._fell(stub.model, fall)

    def retire(self, model: str) -> None:
        """The processes that run a model now are about to be replaced, or ended; any thread."""
        for stub in list(self._stubs.values()):
            if stub.model == model:
                stub.retire()
