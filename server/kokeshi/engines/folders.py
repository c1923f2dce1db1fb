"""Folders of models: names that may not lead out of them, and how to tell that they changed."""

from pathlib import Path, PurePosixPath
from stat import S_ISDIR

from kokeshi.errors import ArtefactError

Signature = tuple[tuple[str, int, int], ...]


def inside(folder: Path, name: str) -> Path:
    """A file of a folder, by a name that somebody else wrote.

    Raises:
        ArtefactError: the name leads out of the folder.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise ArtefactError(f"{name!r} does not name a file of the model's folder")
    return folder / path


def signature(folder: Path) -> Signature:
    """What changes when a model's folder does: path, mtime and size of every file.

    A folder that changes while it is looked at is as good as any other that changed.
    """
    found = []
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except OSError:
            continue
        if not S_ISDIR(status.st_mode):
            found.append((str(path.relative_to(folder)), status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))
