"""One process per data directory, on a disk of this machine."""

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from kokeshi.errors import SetupError

_LOCK: Final = "lock"
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")  # blanks and the like in the name of a mount point
# Locks and shared memory, which the database's log stands on, do not hold between machines there.
# Names as Linux gives them; of the file systems in user space only those that reach over a network.
# fmt: off
NETWORK_FILE_SYSTEMS: Final = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.cephfs",
    "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys",
    "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "pvfs2", "smb3", "smbfs",
})
# fmt: on


class DirectoryLock:
    """An advisory lock on a directory; the kernel frees it when the process dies, however it dies.

    Args:
        directory: made when it is not there.
        allow_network: takes a directory that lies on another machine too.

    Raises:
        SetupError: another store has the directory, or it cannot be written, or lies on a network.
    """

    def __init__(self, directory: Path, *, allow_network: bool = False) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SetupError(f"cannot use data directory {directory}: {error}") from error
        try:
            if not allow_network:
                check_local(directory)
            self._take(directory)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Frees the directory."""
        os.close(self._file)

    def _take(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 300, 0).decode(errors="replace").strip()
            raise SetupError(
                f"data directory {directory} is in use by {holder or 'another process'}"
            ) from error
        # for people only: a disk that is too full for it stops nobody
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


@contextlib.contextmanager
def read_alone(directory: Path) -> Iterator[bool]:
    """Keeps writers out of a directory while it is read; false where one is in it already."""
    try:
        file = os.open(directory / _LOCK, os.O_RDONLY)
    except OSError:
        yield True  # nobody has ever written here, or it is a copy
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


def check_local(directory: Path) -> None:
    """Refuses a directory on a network file system; where there is no /proc nothing is known.

    Raises:
        SetupError: it is on one.
    """
    kind = file_system_of(directory)
    if kind in NETWORK_FILE_SYSTEMS:
        raise SetupError(
            f"data directory {directory} is on a network file system ({kind}), where writes can "
            "be lost; use a local disk, or allow network file systems"
        )


def file_system_of(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """Name of the file system that holds a directory; None where the system does not say.

    Source: proc_pid_mountinfo(5): fields 5 (mount point) and, after a hyphen, the type.
    """
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return None
    path = directory.resolve()
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), before.split()[4])
        mounted = Path(os.fsdecode(point))
        if path.is_relative_to(mounted) and len(mounted.parts) >= best[0]:
            # a later mount hides an earlier one
            best = len(mounted.parts), after.split()[0].decode()
    return best[1]


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable: a rename alone is not."""
    _fsync(directory)


def fsync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
