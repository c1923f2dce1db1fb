"""One process that runs one graph, as its parent has it."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.engines.process import child
from kokeshi.engines.process.channel import Channel, ClosedError, Tensors, pair
from kokeshi.engines.process.questions import Opened, Opening, Question
from kokeshi.engines.process.ready import ready
from kokeshi.engines.vitals import STOPPED, vitals
from kokeshi.errors import UnavailableError

END_TIMEOUT_S: Final = 5.0  # for a process to end by itself
KNOWN_TIMEOUT_S: Final = 1.0  # from the end of a connection until it is known why
_STOPPED: Final = "T"


@dataclass(slots=True, eq=False)
class _Line:
    """One connection, and since when a batch has been running on it."""

    channel: Channel
    since_s: float = 0.0  # of the monotonic clock; 0: none runs


class Peer:
    """A process, with as many connections as batches may run at once.

    The kernel kills it when the thread that makes it ends.

    Args:
        concurrency: batches that run at once.
        python: the interpreter.
    """

    def __init__(self, concurrency: int, python: Path) -> None:
        pairs = [pair() for _ in range(concurrency)]
        self._lines = [_Line(Channel(ours)) for ours, _ in pairs]
        try:
            self._process = _spawn(python, [theirs.fileno() for _, theirs in pairs])
        except BaseException:
            for line in self._lines:
                line.channel.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        self.pidfd = os.pidfd_open(self._process.pid)
        self.reason = ""  # why it is gone
        self._gone = threading.Event()
        self._idle: SimpleQueue[_Line] = SimpleQueue()
        for line in self._lines:
            self._idle.put(line)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def open(self, opening: Opening, progress: Callable[[float], None] | None) -> Opened:
        """Opens the graph.

        Raises:
            ClosedError: the process died of it.
            Exception: what `open_runtime` raises.
        """
        heard = (lambda note: progress(*child.PROGRESS.unpack(note))) if progress else None
        first = self._lines[0].channel
        answer, _ = first.ask(Question.OPEN, opening.model_dump_json().encode(), heard=heard)
        return Opened.model_validate_json(answer)

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`.

        Raises:
            UnavailableError: the process is gone; it says why.
        """
        try:
            return self.ask(inputs)
        except ClosedError:
            self._gone.wait(KNOWN_TIMEOUT_S)
            raise UnavailableError(self.reason or "its process is gone") from None

    def ask(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """As `run`; raises ClosedError at once where the process is gone."""
        line = self._idle.get()
        line.since_s = time.monotonic()
        try:
            return line.channel.ask(Question.RUN, b"", inputs)[1]
        finally:
            line.since_s = 0.0
            self._idle.put(line)

    def longest_s(self) -> float:
        """How long the oldest batch has been running."""
        begun = [since_s for line in self._lines if (since_s := line.since_s)]
        return time.monotonic() - min(begun) if begun else 0.0

    def is_stopped(self) -> bool:
        """Whether somebody sent it SIGSTOP."""
        now = vitals(self.pid)
        return now is not None and now.state == STOPPED

    def kill(self) -> None:
        """Ends it at once, and every wait for its answers."""
        self._process.kill()
        self._hang_up()

    def _hang_up(self) -> None:
        for line in self._lines:
            line.channel.hang_up()

    def how_it_ended(self) -> str:
        """Waits for its end, and says how it came."""
        status = self._process.wait()
        if status < 0:
            return f"its process died of signal {-status}"
        return f"its process ended with exit status {status}"

    def tell_gone(self, reason: str) -> None:
        """Lets those whose batches it ran know why it is gone."""
        self.reason = reason
        self._gone.set()

    def close(self) -> None:
        """Ends it, and closes what belonged to it, as far as no batch uses it."""
        self._hang_up()
        if not ready(END_TIMEOUT_S, self.pidfd):
            self.kill()
        self._process.wait()
        os.close(self.pidfd)
        self.tell_gone(self.reason or "the model was unloaded")
        lines = [self._idle.get() for _ in self._lines]  # all come back: their ends are closed
        for line in lines:
            line.channel.close()
            self._idle.put(line)  # for who comes late, and is told


def _spawn(python: Path, fds: list[int]) -> subprocess.Popen[bytes]:
    """Starts the process; what it prints goes to standard error."""
    # -P: no module of the folder that the server was started in. Its threads are the graph's.
    command = [str(python), "-P", "-X", "faulthandler", "-m", child.__name__, str(os.getpid())]
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
    return subprocess.Popen(
        [*command, *map(str, fds)],
        stdin=subprocess.DEVNULL,
        stdout=2,
        pass_fds=fds,
        env=environment,
    )
