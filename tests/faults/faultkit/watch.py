"""Sees every write and every sync of a process, of SQLite by a VFS and of the rest through `os`.

A watcher is called before an event, where it may raise, wait or end the process, and after it.
Writes that C code does by itself (FAISS's files) are not seen, but the fsync and rename after them.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import apsw

BASE = "unix"
NAMING = {"rename": 2, "replace": 2, "link": 2, "unlink": 1, "remove": 1, "mkdir": 1, "rmdir": 1}


@dataclass(frozen=True)
class Event:
    """`kind` is write, sync, truncate or delete (of SQLite), or the name of a call of `os`."""

    kind: str
    path: Path
    offset: int = 0
    data: bytes = b""
    size: int = 0
    inode: int = 0
    others: tuple[Path, ...] = ()


class Watcher:
    """Watches and does nothing."""

    def before(self, event):
        pass

    def after(self, event):
        pass


@contextlib.contextmanager
def watching(watcher, root):
    """Calls a watcher with every event under a directory."""
    root = Path(root).resolve()
    vfs = WatchedVfs(watcher, root)
    patches = [mock.patch.object(os, name, watched(name, watcher, root)) for name in NAMING]
    patches += [
        mock.patch.object(os, name, watched_sync(name, watcher, root))
        for name in ("fsync", "fdatasync")
    ]
    try:
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            yield
    finally:
        vfs.unregister()


def watched(name, watcher, root):
    real = getattr(os, name)

    def call(*args, **kwargs):
        named = [path for path in args[: NAMING[name]] if isinstance(path, str | os.PathLike)]
        paths = [Path(path).absolute() for path in named]
        if kwargs.get("dir_fd") is not None or not any(path.is_relative_to(root) for path in paths):
            return real(*args, **kwargs)
        event = Event(name, paths[0], others=tuple(paths[1:]))
        watcher.before(event)
        outcome = real(*args, **kwargs)
        watcher.after(event)
        return outcome

    return call


def watched_sync(name, watcher, root):
    real = getattr(os, name)

    def call(file):
        handle = file if isinstance(file, int) else file.fileno()
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if not path.is_relative_to(root):
            return real(handle)
        event = Event("fsync", path, inode=os.fstat(handle).st_ino)
        watcher.before(event)
        outcome = real(handle)
        watcher.after(event)
        return outcome

    return call


class WatchedVfs(apsw.VFS):
    """SQLite's own files, with a watcher in between. The default of the process while it is."""

    def __init__(self, watcher, root):
        super().__init__(f"watched-{id(self)}", BASE, makedefault=True)
        self._watcher = watcher
        self._root = root

    def xOpen(self, name, flags):
        return WatchedFile(name, flags, self._watcher, self._root)

    def xDelete(self, name, syncdir):
        path = Path(name)
        if not path.is_relative_to(self._root):
            return super().xDelete(name, syncdir)
        event = Event("delete", path)
        self._watcher.before(event)
        super().xDelete(name, syncdir)
        self._watcher.after(event)
        return None


class WatchedFile(apsw.VFSFile):
    def __init__(self, name, flags, watcher, root):
        super().__init__(BASE, name, flags)
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(filename) if filename else Path("/nowhere")
        self._is_watched = self._path.is_relative_to(root)
        self._inode = os.stat(self._path).st_ino if self._is_watched else 0
        self._watcher = watcher

    def xLock(self, level):
        try:
            super().xLock(level)
        except apsw.IOError as error:
            # A reader that closes tries to become the last writer. SQLite passes over the refusal;
            # an exception of Python's would be raised by `close`, unless it is this one.
            raise apsw.BusyError("opened to read") from error

    def _told(self, event, work):
        if not self._is_watched:
            return work()
        self._watcher.before(event)
        outcome = work()
        self._watcher.after(event)
        return outcome

    def xWrite(self, data, offset):
        event = Event("write", self._path, offset, bytes(data), inode=self._inode)
        self._told(event, lambda: apsw.VFSFile.xWrite(self, data, offset))

    def xTruncate(self, size):
        event = Event("truncate", self._path, size=size, inode=self._inode)
        self._told(event, lambda: apsw.VFSFile.xTruncate(self, size))

    def xSync(self, flags):
        event = Event("sync", self._path, inode=self._inode)
        self._told(event, lambda: apsw.VFSFile.xSync(self, flags))
