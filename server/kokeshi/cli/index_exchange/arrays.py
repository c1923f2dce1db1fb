"""Arrays of NumPy with a file of ids and metadata beside them, never whole in memory."""

import zipfile
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kokeshi.cli.index_exchange.fields import Fields, Record, item_of, vector_of
from kokeshi.cli.index_exchange.sources import digest_of, lines_of, read_line
from kokeshi.errors import InvalidRequestError, SetupError
from kokeshi.service.types import Unreadable

VECTORS: Final = "vectors.npy"
IDS: Final = "ids.npy"
CHUNK_ROWS: Final = 1024
_AXES: Final = 2

# (shape, is it by columns, dtype) as a header of the format says
Header = tuple[tuple[int, ...], bool, "np.dtype[Any]"]


class Arrays:
    """`FILE.npy` of (n, dim), or `FILE.npz` with "vectors" and, if need be, "ids" (n,).

    A file of the same name that ends in .jsonl or .ndjson has a line per row with its id and
    metadata. A row without an id is called by its number, the first being 0.
    """

    space = ""

    def __init__(self, path: Path, sidecar: Path | None, fields: Fields) -> None:
        beside = (path.with_suffix(suffix) for suffix in (".jsonl", ".ndjson"))
        self._path = path
        self._sidecar = sidecar or next((one for one in beside if one.is_file()), None)
        self._fields = fields
        self._members = _members(path)
        shape, is_by_columns, dtype = self._header(self._members[0])
        if len(shape) != _AXES or dtype.kind not in "fiu" or is_by_columns:
            raise SetupError(
                f"expected numbers of shape (rows, dim), row by row, in {path}, "
                f"got {dtype} of shape {shape}"
            )
        self.total: int | None = shape[0]
        self._check_lengths()

    def _check_lengths(self) -> None:
        for member in self._members[1:]:
            shape, _, dtype = self._header(member)
            if shape != (self.total,) or dtype.kind not in "USiu":
                raise SetupError(
                    f"expected {self.total} ids in {self._path}, got {dtype} of shape {shape}"
                )
        if self._sidecar is not None:
            count = sum(1 for _ in lines_of(self._sidecar, 0))
            if count != self.total:
                raise SetupError(f"{self._path} has {self.total} rows, {self._sidecar} {count}")

    def _header(self, member: str) -> Header:
        with _stream(self._path, member) as file:
            return _read_header(file, self._path)

    def records(self, start: int) -> Iterator[Record]:
        """See `Source`."""
        vectors = self._rows(self._members[0], start)
        names: Iterator[Any] = repeat(None)
        if len(self._members) > 1:
            names = self._rows(self._members[1], start)
        lines: Iterator[bytes] = repeat(b"{}")
        if self._sidecar is not None:
            lines = lines_of(self._sidecar, start)
        for number, (vector, name, line) in enumerate(
            zip(vectors, names, lines, strict=False), start
        ):
            yield self._record(number, vector, name, read_line(line))

    def _record(self, number: int, vector: NDArray[Any], name: Any, beside: Any) -> Record:  # noqa: ANN401 - whatever files hold
        if not isinstance(beside, dict):
            told = f"line {number + 1} of the metadata is no JSON object"
            return Unreadable("", InvalidRequestError.code, told)
        plain = number if name is None else name.item()
        item_id = plain.decode(errors="replace") if isinstance(plain, bytes) else plain
        record = {self._fields.id: item_id, **beside}
        return item_of(record, self._fields, self._path.parent, vector_of(vector))

    def _rows(self, member: str, start: int) -> Iterator[Any]:
        with _stream(self._path, member) as file:
            shape, _, dtype = _read_header(file, self._path)
            row_shape = shape[1:]
            row_bytes = dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
            _skip(file, start * row_bytes)
            left = shape[0] - start
            while left > 0:
                count = min(left, CHUNK_ROWS)
                data = file.read(count * row_bytes)
                if len(data) != count * row_bytes:
                    raise SetupError(f"{self._path} ends too early")
                yield from np.frombuffer(data, dtype).reshape(count, *row_shape)
                left -= count

    def content(self) -> str:
        """See `Source`."""
        beside = digest_of(self._sidecar) if self._sidecar is not None else ""
        return digest_of(self._path) + beside


def _members(path: Path) -> list[str]:
    """Names of the arrays of vectors and of ids in an archive; [""] for a plain file."""
    if path.suffix.lower() == ".npy":
        return [""]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise SetupError(f"cannot read {path}: {error}") from None
    if VECTORS not in names:
        told = ", ".join(repr(name.removesuffix(".npy")) for name in names) or "none"
        raise SetupError(f"expected an array 'vectors' in {path}, got {told}")
    return [VECTORS, *([IDS] if IDS in names else [])]


def _stream(path: Path, member: str) -> IO[bytes]:
    if not member:
        return path.open("rb")
    with zipfile.ZipFile(path) as archive:  # the member keeps the file open
        return archive.open(member)


def _read_header(file: IO[bytes], path: Path) -> Header:
    readers: dict[tuple[int, int], Callable[..., Header]] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    try:
        found = readers[npy.read_magic(file)](file)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SetupError(f"cannot read {path}: {error}") from None
    if found[2].hasobject:
        raise SetupError(f"{path} holds objects of Python, which are not read")
    return found


def _skip(file: IO[bytes], count_bytes: int) -> None:
    if count_bytes:
        file.seek(count_bytes, 1)  # an archive reads what it passes
