"""The sign of life of a process that runs a model: a small file in memory, read by its supervisor.

The process runs inside Triton's Python stub and the supervisor inside the gateway, so this module
imports the standard library alone. Every cell is eight bytes and has one writer.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from mmap import mmap
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "KOKESHI_HEARTBEATS"  # folder of the files; without it there are none
INTERVAL_S: Final = 0.1
FILE_BYTES: Final = 4096

BEATS, EXECUTING_SINCE_NS, EXECUTIONS, FINISHED = range(4)  # the cells
_CELLS: Final = 4
_WORD: Final = 8


class Heartbeat:
    """Writes one file, named by the process: its cells, then what it serves as JSON.

    Args:
        folder: where the file goes.
        serves: what the supervisor is to know: model, version, instance, whether on the CPU alone.
    """

    def __init__(self, folder: str, serves: Mapping[str, object]) -> None:
        self._path = Path(folder, str(os.getpid()))
        self._serves = serves
        with Path(self._path).open("w+b") as file:
            file.truncate(FILE_BYTES)
            self._memory = mmap(file.fileno(), FILE_BYTES)
        self._cells = memoryview(self._memory)[: _CELLS * _WORD].cast("q")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        text = json.dumps({**self._serves, "thread": threading.get_native_id()}).encode()
        self._memory[_CELLS * _WORD : _CELLS * _WORD + len(text)] = text
        self._cells[BEATS] = 1  # from here on the file is whole
        while not self._stop.wait(INTERVAL_S):
            self._cells[BEATS] += 1

    def begin(self) -> None:
        """An execution begins."""
        self._cells[EXECUTING_SINCE_NS] = time.monotonic_ns()

    def end(self) -> None:
        """An execution ends."""
        self._cells[EXECUTING_SINCE_NS] = 0
        self._cells[EXECUTIONS] += 1

    def finish(self) -> None:
        """The process is about to end because its model is unloaded."""
        self._cells[FINISHED] = 1
        self._stop.set()


class Pulse:
    """Reads one file; the counterpart of `Heartbeat`.

    Raises:
        OSError: there is no such file.
        ValueError: it is not whole yet.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = mmap(file.fileno(), FILE_BYTES, access=1)
        self._cells = memoryview(self._memory)[: _CELLS * _WORD].cast("q")
        if not self._cells[BEATS]:
            self.close()
            raise ValueError("not whole yet")
        text = self._memory[_CELLS * _WORD :].split(b"\0", 1)[0]
        self.serves: dict[str, object] = json.loads(text)

    def read(self) -> tuple[int, int, int, bool]:
        """Beats so far, executing since (monotonic nanoseconds, 0: idle), executions, finished."""
        cells = self._cells
        return (
            cells[BEATS], cells[EXECUTING_SINCE_NS], cells[EXECUTIONS], bool(cells[FINISHED])
        )  # fmt: skip

    def close(self) -> None:
        """Lets go of the file."""
        self._cells.release()
        self._memory.close()
