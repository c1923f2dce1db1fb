"""Shared memory that this process and a Triton server on the same machine both see.

A region is one file in /dev/shm with room for one request and its answer: Triton refuses (or puts
off) the unregistering of a region in use, which is how a request that was given up is told to be
over. Regions have sizes of powers of two and are used again; the youngest first, as it is in the
processor's caches.

No posix_ipc, no multiprocessing.shared_memory: its resource tracker is a process more, and unlinks
what it thinks is lost. A region's file is locked as long as its owner lives, so that what a dead
process left behind is told from what a living one uses, in any container.
"""

import fcntl
import mmap
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FOLDER: Final = Path("/dev/shm")
PREFIX: Final = "kokeshi_tensors_"
SMALLEST_BYTES: Final = 65_536
MAX_SHARED_BYTES: Final = 256 * 2**20
ALIGNMENT: Final = 64
# An old Triton unmaps a region that it still writes to: one given up is left alone for a while.
LOST_REST_S: Final = 10.0
# Younger files may be another process's that it has not locked yet.
LEFTOVER_AGE_S: Final = 10.0


class Region:
    """One file, mapped and locked.

    Args:
        nbytes: of its size.

    Raises:
        OSError: there is no room for it.
    """

    def __init__(self, nbytes: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}_{token_hex(6)}"
        self.nbytes = nbytes
        self.lost_s = 0.0
        self._path = FOLDER / self.name
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # unlike ftruncate, says now that memory is short: later it would be a SIGBUS
            os.posix_fallocate(self._file, 0, nbytes)
            self._map = mmap.mmap(self._file, nbytes)
        except OSError:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            raise
        self.memory: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def write(self, offset: int, tensor: NDArray[Any]) -> None:
        """Copies a tensor into it."""
        place = self.memory[offset : offset + tensor.nbytes].view(tensor.dtype)
        np.copyto(place.reshape(tensor.shape), tensor)

    def read(self, offset: int, nbytes: int) -> memoryview:
        """Copies bytes out of it."""
        return self.memory[offset : offset + nbytes].copy().data

    def unlink(self) -> None:
        """Takes its name away; the memory is returned when nobody maps it any more."""
        self._path.unlink(missing_ok=True)

    def free(self) -> None:
        """Gives its memory back."""
        self.unlink()
        self.memory = np.empty(0, np.uint8)
        with suppress(BufferError):  # somebody reads it at this moment: it goes with the reader
            self._map.close()
        os.close(self._file)


class Regions:
    """The regions that one server knows, and those it is to be told of.

    Every method may be called from any thread.

    Args:
        max_bytes: of all together.
    """

    def __init__(self, max_bytes: int = MAX_SHARED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._idle: dict[int, list[Region]] = defaultdict(list)  # by size
        self._known: set[Region] = set()  # registered: idle, or used by a request
        self._lost: list[Region] = []  # to be unregistered
        self._total_bytes = 0
        self._wanted: set[int] = set()

    def take(self, nbytes: int) -> Region | None:
        """A region for a request; None where none is free: it is then wanted."""
        size = size_of(nbytes)
        with self._lock:
            if idle := self._idle[size]:
                return idle.pop()
            if size <= self._max_bytes:
                self._wanted.add(size)
        return None

    def give(self, region: Region) -> None:
        """Takes a region back whose request is over."""
        with self._lock:
            if region in self._known:
                self._idle[region.nbytes].append(region)
                return
        region.free()  # the server it was registered with is gone

    def lose(self, region: Region) -> None:
        """Takes a region back whose request may still be running: nobody is to use it again."""
        region.unlink()
        region.lost_s = time.monotonic()
        with self._lock:
            if region in self._known:
                self._known.discard(region)
                self._lost.append(region)
                return
        region.free()

    def knows(self, region: Region) -> bool:
        """Whether the server is thought to know it."""
        with self._lock:
            return region in self._known

    def wanted(self) -> list[int]:
        """Sizes that requests went without since the last call."""
        with self._lock:
            sizes, self._wanted = sorted(self._wanted), set()
        return sizes

    def make(self, size: int) -> Region | None:
        """A new region, to be registered and then added; None where there is no room now.

        Idle regions of other sizes then make room, once the server has let go of them.

        Raises:
            OSError: the machine has no room.
        """
        with self._lock:
            if self._total_bytes + size > self._max_bytes:
                self._retire(self._total_bytes + size - self._max_bytes, size)
                self._wanted.add(size)
                return None
            self._total_bytes += size
        try:
            return Region(size)
        except OSError:
            with self._lock:
                self._total_bytes -= size
            raise

    def _retire(self, nbytes: int, size: int) -> None:
        """Gives up so many bytes of idle regions that are not of this size."""
        for kept in [kept for other, kept in self._idle.items() if other != size]:
            while kept and nbytes > 0:
                region = kept.pop(0)
                nbytes -= region.nbytes
                region.unlink()
                self._known.discard(region)
                self._lost.append(region)

    def add(self, region: Region) -> None:
        """Takes a new region that is registered."""
        with self._lock:
            self._known.add(region)
            self._idle[region.nbytes].append(region)

    def discard(self, region: Region) -> None:
        """Lets go of a region that is not registered, or not any more."""
        with self._lock:
            self._total_bytes -= region.nbytes
        region.free()

    def due(self) -> list[Region]:
        """Those given up long enough ago to be unregistered; they are the caller's now."""
        before_s = time.monotonic() - LOST_REST_S
        with self._lock:
            due = [region for region in self._lost if region.lost_s <= before_s]
            self._lost = [region for region in self._lost if region.lost_s > before_s]
        return due

    def again(self, region: Region) -> None:
        """Takes back one of `due` that the server still uses."""
        with self._lock:
            self._lost.append(region)

    def registered(self) -> list[Region]:
        """Every region that the server knows."""
        with self._lock:
            return [*self._known, *self._lost]

    def forget(self) -> None:
        """Lets go of everything, because its server is; what is in use goes when it comes back."""
        with self._lock:
            known, self._known = self._known, set()
            gone = [*(region for kept in self._idle.values() for region in kept), *self._lost]
            self._idle.clear()
            self._total_bytes -= sum(region.nbytes for region in (*known, *self._lost))
            self._lost.clear()
        for region in known:
            region.unlink()
        for region in gone:
            region.free()


def size_of(nbytes: int) -> int:
    """The size of region that holds so many bytes."""
    return max(SMALLEST_BYTES, 1 << (nbytes - 1).bit_length())


def aligned(nbytes: int) -> int:
    """The next offset at which a tensor may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def clean_leftovers() -> int:
    """Removes the regions of processes that are dead; says how many."""
    return sum(_clean(path) for path in _old_files())


def _old_files() -> Iterator[Path]:
    before_s = time.time() - LEFTOVER_AGE_S
    for path in FOLDER.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if path.stat().st_mtime < before_s:
                yield path


def _clean(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # its owner lives
        return False
    finally:
        os.close(file)
    return True
