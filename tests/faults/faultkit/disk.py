"""A model of what a power cut leaves of a directory.

Of a file, what the last sync covered is certain; of each later write any part may be there, in any
order and torn at sectors. Of a directory, the names at its last sync are certain; later creations,
renames and deletions may be there up to any point, in order, as a journalling file system keeps
them. Files and directories are told apart by inode, held open so that no number comes back.
"""

import contextlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from faultkit.watch import Watcher

STYLES = ("dropped", "kept", "subset", "torn", "prefix", "garbled")
SECTORS = (512, 4096)


@dataclass
class File:
    """`durable` was synced; `log` are the writes since, (offset, bytes) or (size, None)."""

    handle: int
    durable: bytes = b""
    log: list = field(default_factory=list)
    is_logged: bool = False
    was_synced: bool = False


@dataclass
class Directory:
    """`listings` map names to inodes: what was synced, then each state since."""

    handle: int
    listings: list


@dataclass(frozen=True)
class Image:
    """A disk at one moment: per file (durable, log), per directory its listings."""

    root: int
    files: dict
    directories: dict

    def restore(self, target, rng):
        """Writes one of the states that a power cut at this moment may leave."""
        self._restore(self.root, Path(target), rng)

    def _restore(self, inode, target, rng):
        target.mkdir()
        for name, child in rng.choice(self.directories[inode]).items():
            if child in self.directories:
                self._restore(child, target / name, rng)
            elif not name.endswith("-shm"):  # SQLite makes it anew after a restart
                (target / name).write_bytes(survived(*self.files[child], rng))


class Disk(Watcher):
    """Follows a directory through its syncs. All that is there at first is durable."""

    def __init__(self, root):
        self._lock = threading.RLock()
        self._files = {}
        self._directories = {}
        self._root = self._see_directory(Path(root))
        for directory in self._directories.values():
            directory.listings = directory.listings[-1:]
        for file in self._files.values():
            file.durable = content(file.handle)

    def close(self):
        for known in (*self._files.values(), *self._directories.values()):
            os.close(known.handle)

    def after(self, event):
        with self._lock:
            if event.kind in {"write", "truncate", "sync"}:
                self._follow(event)
            elif event.kind == "fsync":
                self._synced(event)
            else:
                for path in (event.path, *event.others):
                    self._look(path.parent)

    def lose(self, inode):
        """A sync failed: the kernel forgot what it was about to write."""
        with self._lock:
            self._files[inode].log.clear()

    def image(self):
        """The disk as it is now."""
        with self._lock:
            self._see_directory(Path(f"/proc/self/fd/{self._directories[self._root].handle}"))
            files = {inode: (file.durable, pending(file)) for inode, file in self._files.items()}
            directories = {
                inode: list(directory.listings) for inode, directory in self._directories.items()
            }
            return Image(self._root, files, directories)

    def _follow(self, event):
        if event.inode not in self._files:
            self._look(event.path.parent)
        file = self._files[event.inode]
        file.is_logged = True
        if event.kind == "write":
            file.log.append((event.offset, event.data))
        elif event.kind == "truncate":
            file.log.append((event.size, None))
        else:
            self._settle(file)
            if not file.was_synced:  # SQLite syncs the directory of a log that it has made
                self._settle_names(event.path.parent)
            file.was_synced = True

    def _synced(self, event):
        if event.path.is_dir():
            self._settle_names(event.path)
            return
        if event.inode not in self._files:
            self._look(event.path.parent)
        self._settle(self._files[event.inode])

    def _settle(self, file):
        file.durable = replayed(file.durable, file.log) if file.is_logged else content(file.handle)
        file.log.clear()

    def _settle_names(self, path):
        inode = self._see_directory(path)
        directory = self._directories[inode]
        directory.listings = directory.listings[-1:]

    def _look(self, path):
        with contextlib.suppress(FileNotFoundError):
            self._see_directory(path)

    def _see_directory(self, path):
        inode = os.stat(path).st_ino
        if inode not in self._directories:
            handle = os.open(path, os.O_RDONLY)
            self._directories[inode] = Directory(handle, [{}])
        listing = {}
        for name in sorted(os.listdir(path)):
            with contextlib.suppress(FileNotFoundError):
                listing[name] = self._see(path / name)
        directory = self._directories[inode]
        if directory.listings[-1] != listing:
            directory.listings.append(listing)
        return inode

    def _see(self, path):
        if path.is_dir():
            return self._see_directory(path)
        inode = os.stat(path).st_ino
        if inode not in self._files:
            # Never closed while the store is open: closing would drop SQLite's locks on the file.
            self._files[inode] = File(os.open(path, os.O_RDONLY))
        return inode


def content(handle):
    return os.pread(handle, os.fstat(handle).st_size, 0)


def pending(file):
    """The writes of a file that are not synced."""
    if file.is_logged:
        return list(file.log)
    now = content(file.handle)
    if now == file.durable:
        return []
    return [(len(now), None), (0, now)] if len(now) < len(file.durable) else [(0, now)]


def replayed(durable, log):
    """Contents after all of the writes."""
    changed = bytearray(durable)
    for offset, data in log:
        place(changed, offset, data)
    return bytes(changed)


def place(into, offset, data):
    """One write, or the cut to a size where `data` is None."""
    if data is None:
        del into[offset:]
        return
    if len(into) < offset:
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(data)] = data


def survived(durable, log, rng):
    """Contents that a power cut may leave of a file."""
    style = rng.choice(STYLES)
    if style == "dropped" or not log:
        return durable
    if style == "kept":
        return replayed(durable, log)
    if style == "subset":
        return replayed(durable, [write for write in log if rng.random() < 0.5])
    whole = rng.randrange(len(log)) if style == "prefix" else 0
    last = log[whole : whole + 1] if style == "prefix" else log
    changed = bytearray(replayed(durable, log[:whole]))
    sector = rng.choice(SECTORS)
    for offset, data in last:
        tear(changed, offset, data, sector, rng, noise=0.3 if style == "garbled" else 0.0)
    return bytes(changed)


def tear(into, offset, data, sector, rng, noise):
    """Places some sectors of a write, and noise in some of the others."""
    if data is None:
        place(into, offset, None)
        return
    for start, part in sectors(offset, data, sector):
        if rng.random() < 0.5:
            place(into, start, part)
        elif rng.random() < noise:
            place(into, start, rng.randbytes(len(part)))


def sectors(offset, data, size):
    """Parts of a write, cut where sectors end."""
    start = 0
    while start < len(data):
        end = min(len(data), start + size - (offset + start) % size)
        yield offset + start, data[start:end]
        start = end
