"""A server in a process of its own, that can be killed and started again."""

import os
import socket
import subprocess
from pathlib import Path

from waiting import wait_for


class ServerProcess:
    """Keeps its port over kills; what it says goes to a log beside its directory."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._directory = directory
        self._process = None

    def command(self):
        """What is run, with its arguments."""
        raise NotImplementedError

    def start(self):
        with open(self._directory.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        wait_for(self._answers)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            assert self._process.poll() is None, f"{type(self).__name__} ended"
            return False
        return True

    def kill(self):
        """As a power cut would, but for what the operating system already has."""
        self._process.kill()
        self._process.wait()
