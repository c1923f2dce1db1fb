"""One tritonserver as a child of a keeper, with its log in ours."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Final

from kokeshi.engines.triton import keeper
from kokeshi.engines.triton.log import relog

LAST_LINES: Final = 20  # kept for the reason of a start that failed
END_TIMEOUT_S: Final = 10.0


class Process:
    """A running tritonserver; made by starting it.

    Args:
        command: program and arguments.
        environment: whole.
        shm_prefix: of the names in /dev/shm to remove at the end.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        shm_prefix: str,
    ) -> None:
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._exit: int | None = None
        # -I -S: the keeper needs nothing beside the standard library, and starts in 20 ms
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C at the terminal is the gateway's to act upon
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        asked = {
            "gateway": os.getpid(),
            "command": list(command),
            "environment": dict(environment),
            "shm_prefix": shm_prefix,
        }
        with self._keeper.stdin as stdin:
            json.dump(asked, stdin)
        self._threads = [
            threading.Thread(target=self._read_log, args=(self._keeper.stderr,), daemon=True)
        ]
        self._threads[0].start()
        first = self._keeper.stdout.readline()
        self.pid = int(json.loads(first)["pid"]) if first else 0
        self._threads.append(
            threading.Thread(target=self._read_end, args=(self._keeper.stdout,), daemon=True)
        )
        self._threads[1].start()

    def _read_log(self, stream: IO[str]) -> None:
        for line in stream:
            if text := line.rstrip():
                self._lines.append(text)
                relog(text)

    def _read_end(self, stream: IO[str]) -> None:
        for line in stream:
            self._exit = int(json.loads(line)["exit"])

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs."""
        if self._keeper.poll() is None:
            return None
        for thread in self._threads:
            thread.join(timeout=1.0)
        if self._exit is None:
            return "ended, with its keeper"
        return in_words(self._exit)

    def last_error(self) -> str:
        """The last line that says what went wrong, or the last line of all."""
        lines = list(self._lines)
        bad = [line for line in lines if line.startswith(("E", "F", "error", "terminate"))]
        return (bad or lines or [""])[-1]

    def kill(self) -> None:
        """Ends it and everything it started, at once; returns when nothing is left."""
        if self._keeper.poll() is None:
            self._keeper.send_signal(signal.SIGTERM)
        try:
            self._keeper.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # a child in the kernel that cannot be killed now
            self._keeper.kill()
            self._keeper.wait()
        for thread in self._threads:
            thread.join(timeout=1.0)
        for stream in (self._keeper.stdout, self._keeper.stderr):
            if stream is not None:
                stream.close()


def in_words(code: int) -> str:
    """An exit code of `os.waitstatus_to_exitcode`, for people."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
