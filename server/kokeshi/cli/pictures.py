"""The pictures in files, folders and zip archives that a person names."""

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import typer

from kokeshi.errors import SetupError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
ARCHIVE: Final = ".zip"
APPLE: Final = "__MACOSX"  # what macOS adds to archives: no pictures, though they are named so


@dataclass(frozen=True)
class Picture:
    """One image file; its id is its relative path, with slashes."""

    id: str
    size_bytes: int
    read: Callable[[], bytes]

    @property
    def metadata(self) -> dict[str, str]:
        """The path, and the name of the folder, which is how labelled pictures are kept."""
        folder = PurePosixPath(self.id).parent.name
        return {"file": self.id} | ({"label": folder} if folder else {})


@dataclass(frozen=True)
class Pictures:
    """What was found, by id in the order of the names, and how many other files there were."""

    found: Sequence[Picture]
    ignored: int


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[Pictures]:
    """The pictures of all paths, readable inside the context.

    Raises:
        typer.BadParameter: a path does not exist.
        SetupError: an archive is damaged, or two pictures have one id.
    """
    with ExitStack() as stack:
        files = [file for path in paths for file in _files(path, stack)]
        # a file that was named itself is sent whatever it is called
        wanted = [picture for picture, named in files if named or _is_picture(picture.id)]
        _refuse_duplicates(wanted)
        yield Pictures(wanted, len(files) - len(wanted))


def _files(path: Path, stack: ExitStack) -> Iterator[tuple[Picture, bool]]:
    if path.is_dir():
        yield from ((picture, False) for picture in _in_folder(path))
    elif not path.is_file():
        raise typer.BadParameter(f"{str(path)!r} is neither a file nor a folder")
    elif path.suffix.lower() == ARCHIVE:
        yield from ((picture, False) for picture in _in_archive(path, stack))
    else:
        inside = not path.is_absolute() and ".." not in path.parts
        yield _on_disk(path, path.as_posix() if inside else path.name), True


def _on_disk(path: Path, name: str) -> Picture:
    return Picture(name, path.stat().st_size, path.read_bytes)


def _in_folder(folder: Path) -> Iterator[Picture]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():
                yield _on_disk(path, path.relative_to(folder).as_posix())


def _in_archive(path: Path, stack: ExitStack) -> Iterator[Picture]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise SetupError(f"{str(path)!r} cannot be read: {error}") from None
    for info in archive.infolist():
        if not info.is_dir():
            yield Picture(info.filename, info.file_size, partial(_unpacked, archive, info))


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise SetupError(f"{info.filename!r} cannot be unpacked: {error}") from None


def in_folder(folder: Path) -> Iterator[Picture]:
    """The pictures of a folder with all below it, one at a time, in the order of their names."""
    return (picture for picture in _in_folder(folder) if _is_picture(picture.id))


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or APPLE in path.parts
    return path.suffix.lower() in SUFFIXES and not hidden


def _refuse_duplicates(pictures: Sequence[Picture]) -> None:
    seen: set[str] = set()
    for picture in pictures:
        if picture.id in seen:
            raise SetupError(f"two pictures have the id {picture.id!r}; add them apart")
        seen.add(picture.id)
