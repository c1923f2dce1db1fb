"""The command line of a local tritonserver."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kokeshi.engines.triton.backends.onnxruntime.kokeshi_heartbeat import FOLDER_VARIABLE
from kokeshi.engines.triton.installation import Installation
from kokeshi.engines.triton.memory import Memory
from kokeshi.engines.triton.process import Process

HOST: Final = "127.0.0.1"
THREADS_VARIABLE: Final = "KOKESHI_THREADS"
LOADING_THREADS: Final = 8  # most of a load is waiting, for Triton's own pauses of a second


@dataclass(frozen=True)
class Launch:
    """What stays the same when the server is started again.

    `threads` is for each session whose configuration does not say; `flags` come last, so they win.
    """

    installation: Installation
    repository: Path
    port: int
    threads: int
    flags: Sequence[str] = ()

    def start(self, memory: Memory, scratch: "TemporaryDirectory[str]") -> Process:
        """Starts the server, with no model loaded.

        Raises:
            OSError: it cannot be started.
        """
        backends = self.installation.lay_out(Path(scratch.name))
        environment = self.installation.environment(self._variables(memory))
        command = [str(self.installation.program), *self._arguments(memory, backends)]
        return Process(command, environment, memory.prefix)

    def _variables(self, memory: Memory) -> Mapping[str, str]:
        threads = {THREADS_VARIABLE: str(self.threads)} if self.threads else {}
        return {FOLDER_VARIABLE: str(memory.heartbeats), **threads}

    def _arguments(self, memory: Memory, backends: Path | None) -> list[str]:
        return [
            f"--model-repository={self.repository.resolve()}",
            "--model-control-mode=explicit",
            f"--grpc-address={HOST}",
            f"--grpc-port={self.port}",
            "--allow-http=false",
            "--allow-metrics=false",
            "--exit-on-error=false",
            "--strict-readiness=false",
            f"--model-load-thread-count={LOADING_THREADS}",
            f"--backend-config=python,shm-region-prefix-name={memory.prefix}_",
            *([f"--backend-directory={backends}"] if backends else []),
            *self.flags,
        ]


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
