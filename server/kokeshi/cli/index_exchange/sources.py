"""Where items come from: one class for each kind of file, all read from any row on."""

import csv
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b, file_digest
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from kokeshi.cli.index_exchange.fields import Fields, Record, bytes_of, item_of
from kokeshi.cli.pictures import in_folder
from kokeshi.errors import InvalidRequestError, SetupError
from kokeshi.service.types import Image, NewItem, Unreadable

LINES: Final = frozenset({".ndjson", ".jsonl"})
PARQUET: Final = frozenset({".parquet", ".pq"})
SIDECARS: Final = ("metadata.jsonl", "metadata.ndjson", "metadata.csv")
FILE_FIELDS: Final = ("file", "file_name", "path")


class Source(Protocol):
    """Records in a lasting order.

    Attributes:
        total: how many there are; None where only reading them all would tell.
        space: fingerprint of the space of the vectors; "" where the file does not say.
    """

    total: int | None
    space: str

    def records(self, start: int) -> Iterator[Record]:
        """The records from number `start` on, the first being 0."""

    def content(self) -> str:
        """Digest of all that the records are made from."""


class Lines:
    """A file of JSON objects, one per line; empty lines are none."""

    total: int | None = None
    space = ""

    def __init__(self, path: Path, fields: Fields) -> None:
        self._path = path
        self._fields = fields

    def records(self, start: int) -> Iterator[Record]:
        """See `Source`."""
        for line in lines_of(self._path, start):
            yield item_of(read_line(line), self._fields, self._path.parent)

    def content(self) -> str:
        """See `Source`; images that lines name are not read for it."""
        return digest_of(self._path)


class Folder:
    """A folder of image files; a file of metadata, where there is one, says which of them.

    Its records, in their order, name a picture in one of `FILE_FIELDS`, by its path in the folder.
    Without it every picture is taken, in the order of the names, with the metadata that
    `kokeshi index add` gives.
    """

    space = ""

    def __init__(self, path: Path, sidecar: Path | None, fields: Fields) -> None:
        found = (path / name for name in SIDECARS)
        self._path = path
        self._sidecar = sidecar or next((one for one in found if one.is_file()), None)
        self._fields = fields
        is_listed = self._sidecar is not None
        self.total = None if is_listed else sum(1 for _ in in_folder(path))

    def records(self, start: int) -> Iterator[Record]:
        """See `Source`."""
        if self._sidecar is None:
            for picture in islice(in_folder(self._path), start, None):
                yield NewItem(picture.id, Image(picture.read()), picture.metadata)
            return
        for record in islice(_records(self._sidecar), start, None):
            yield self._listed(record)

    def _listed(self, record: Any) -> Record:  # noqa: ANN401 - whatever a file holds
        if not isinstance(record, dict):
            return Unreadable("", InvalidRequestError.code, "expected an object with a file")
        name = next((record[key] for key in FILE_FIELDS if record.get(key)), None)
        if not isinstance(name, str):
            told = f"expected one of the fields {', '.join(FILE_FIELDS)}"
            return Unreadable("", InvalidRequestError.code, told)
        named = {self._fields.id: name, **record}
        try:
            return item_of(named, self._fields, self._path, Image(bytes_of(self._path, name)))
        except InvalidRequestError as error:
            return Unreadable(name, error.code, str(error))

    def content(self) -> str:
        """See `Source`."""
        whole = blake2b(digest_size=16)
        if self._sidecar is not None:
            whole.update(digest_of(self._sidecar).encode())
        for picture in in_folder(self._path):
            whole.update(orjson.dumps([picture.id, blake2b(picture.read()).hexdigest()]))
        return whole.hexdigest()


@contextmanager
def reading() -> Iterator[None]:
    """Turns what files that are damaged or gone raise into an error for a person."""
    try:
        yield
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile, zlib.error) as error:
        raise SetupError(f"the source cannot be read: {error}") from None


def read_on(source: Source, start: int) -> Iterator[Record]:
    """The records of a source from number `start` on.

    Raises:
        SetupError: a file is damaged or gone.
    """
    with reading():
        yield from source.records(start)


def lines_of(path: Path, start: int) -> Iterator[bytes]:
    """Lines that are not empty, from number `start` on."""
    with path.open("rb") as file:
        yield from islice((line for line in file if line.strip()), start, None)


def read_line(line: bytes) -> Any:  # noqa: ANN401 - whatever a file holds
    """The JSON of a line; None where it is none, which no record is."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _records(path: Path) -> Iterator[Any]:
    if path.suffix.lower() in LINES:
        yield from map(read_line, lines_of(path, 0))
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        for record in csv.DictReader(file):
            yield {name: value for name, value in record.items() if name and value}


def digest_of(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return file_digest(file, "blake2b").hexdigest()


def opened(path: Path, *, sidecar: Path | None = None, fields: Fields | None = None) -> Source:
    """The source that a path names.

    Raises:
        SetupError: it is no file that can be read, or of no kind that is known.
    """
    named = fields or Fields()
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            return Folder(path, sidecar, named)
        if suffix in LINES:
            with closing(path.open("rb")):
                return Lines(path, named)
        if suffix in PARQUET:
            from kokeshi.cli.index_exchange.parquet import Parquet

            return Parquet(path, named)
        if suffix in {".npy", ".npz"}:
            from kokeshi.cli.index_exchange.arrays import Arrays

            return Arrays(path, sidecar, named)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror or error}") from None
    raise SetupError(
        f"cannot tell what {path} is: expected .parquet, .npy, .npz, .ndjson, .jsonl or a folder"
    )
