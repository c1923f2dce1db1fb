"""Files of backups: copied, checked on the way."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from kokeshi.errors import SetupError

COPY_BYTES: Final = 1 << 20


def sha256_of(path: Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_checked(source: Path, target: Path, sha256: str) -> None:
    """Copies a file of a backup; on the disk when this returns.

    Raises:
        SetupError: it is not what was backed up.
    """
    state = hashlib.sha256()
    with source.open("rb") as old, target.open("wb") as new:
        for part in _parts(old):
            state.update(part)
            new.write(part)
        new.flush()
        os.fsync(new.fileno())
    if state.hexdigest() != sha256:
        raise SetupError(f"the backup is damaged: {source.name} is not what was backed up")


def files_of(name: str) -> tuple[str, ...]:
    """A database and what SQLite keeps beside it."""
    return (name, f"{name}-wal", f"{name}-shm")


def _parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(COPY_BYTES):
        yield part
