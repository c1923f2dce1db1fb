"""One process per data directory."""

import fcntl
import os
from pathlib import Path
from typing import Self

from kokeshi.errors import SetupError


class DirectoryLock:
    """An advisory lock on a directory; the kernel frees it when the process dies, however it dies.

    Raises:
        SetupError: another store has the directory, or it cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SetupError(f"cannot use data directory {directory}: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SetupError(f"data directory {directory} is in use by another process") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Frees the directory."""
        os.close(self._file)


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable: a rename alone is not."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
