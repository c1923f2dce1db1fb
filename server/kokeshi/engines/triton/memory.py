"""What a local Triton keeps in shared memory: heartbeats, and the regions of its Python backend.

All of it carries one token, and the folder of the heartbeats is locked while the gateway lives. A
lock says so across containers that share /dev/shm, where a process id would mean another process.
"""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from kokeshi.engines.triton.keeper import SHARED_MEMORY

PREFIX: Final = "kokeshi_triton_"
LOCK: Final = "lock"
TOKEN_BYTES: Final = 6


class Memory:
    """One gateway's share of /dev/shm.

    Raises:
        OSError: there is no shared memory, or none that may be written.
    """

    def __init__(self) -> None:
        _sweep()
        # a region's name may hold letters, digits, _ and - alone
        self.folder = SHARED_MEMORY / f"{PREFIX}{secrets.token_hex(TOKEN_BYTES)}"
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.heartbeats = self.folder / "heartbeats"
        self.heartbeats.mkdir()

    @property
    def prefix(self) -> str:
        """How the names of everything here begin."""
        return self.folder.name

    def close(self) -> None:
        """Removes everything."""
        _remove(self.folder)
        os.close(self._lock)


def _sweep() -> None:
    """Removes what gateways left that were killed together with their keepers."""
    for folder in SHARED_MEMORY.glob(f"{PREFIX}*/"):
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # being made or removed at this moment, or another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
        except OSError:  # its gateway lives
            pass
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    for region in SHARED_MEMORY.glob(f"{folder.name}_*"):
        region.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
