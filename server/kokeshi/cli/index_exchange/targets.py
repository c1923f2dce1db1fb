"""Whole files from what was fetched: written aside, then renamed."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson
from numpy.lib import format as npy

from kokeshi.cli.index_exchange.arrays import IDS, VECTORS
from kokeshi.cli.index_exchange.sources import LINES, PARQUET
from kokeshi.cli.index_exchange.spool import Spool
from kokeshi.errors import SetupError

# Writes everything of a spool to a file; `about` says where it is from.
Writer = Callable[[Spool, Path, Mapping[str, Any]], None]

SIDECAR: Final = ".jsonl"
_VECTOR_TYPE: Final = np.dtype("<f4")


def writer_of(path: Path) -> Writer:
    """What writes a file of this name.

    Raises:
        SetupError: nothing does, or a package is missing.
    """
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        from kokeshi.cli.index_exchange.parquet import needed

        needed()
        return _write_parquet
    if suffix in LINES:
        return _write_lines
    if suffix in {".npy", ".npz"}:
        return _write_npy if suffix == ".npy" else _write_npz
    raise SetupError(
        f"cannot tell how to write {path}: expected .parquet, .npy, .npz, .ndjson or .jsonl"
    )


def files_of(path: Path) -> list[Path]:
    """The files that an export of this name writes."""
    is_array = path.suffix.lower() in {".npy", ".npz"}
    return [path, *([path.with_suffix(SIDECAR)] if is_array else [])]


def _write_lines(spool: Spool, path: Path, about: Mapping[str, Any]) -> None:
    """One object per line; its numbers are those of the vector to the last bit."""
    with _aside(path) as file:
        for lines, vectors in spool.chunks():
            for line, vector in zip(lines, vectors, strict=True):
                record = orjson.loads(line)
                # as float64, whose decimal form is read back to the same float32 for certain
                told = {"id": record["id"], "vector": vector.tolist()}
                told["metadata"] = record["metadata"]
                file.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


def _write_parquet(spool: Spool, path: Path, about: Mapping[str, Any]) -> None:
    """Columns id, vector and metadata, the last as JSON; a group of rows per portion."""
    import pyarrow as pa

    from kokeshi.cli.index_exchange.parquet import NOTE, needed

    dim = about["dimension"]
    columns = {"id": pa.string(), "vector": pa.list_(pa.float32(), dim), "metadata": pa.string()}
    schema = pa.schema(columns, metadata={NOTE: orjson.dumps(about)})
    with _aside(path) as file, needed().ParquetWriter(file, schema) as writer:
        for lines, vectors in spool.chunks():
            records = [orjson.loads(line) for line in lines]
            arrays = [
                pa.array([record["id"] for record in records], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
                pa.array(
                    [orjson.dumps(record["metadata"]).decode() for record in records], pa.string()
                ),
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _write_npy(spool: Spool, path: Path, about: Mapping[str, Any]) -> None:
    """The vectors, and a line with id and metadata for each in a file beside them."""
    _write_sidecar(spool, path)
    with _aside(path) as file:
        _put_vectors(spool, file, about["dimension"])


def _write_npz(spool: Spool, path: Path, about: Mapping[str, Any]) -> None:
    """Arrays "vectors" and "ids", and the lines beside them."""
    _write_sidecar(spool, path)
    longest = max((len(_id(line)) for lines, _ in spool.chunks() for line in lines), default=1)
    name_type = np.dtype(f"<U{longest}")
    with _aside(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open(VECTORS, "w", force_zip64=True) as member:
            _put_vectors(spool, member, about["dimension"])
        with archive.open(IDS, "w", force_zip64=True) as member:
            _put_header(member, (spool.progress.rows,), name_type)
            for lines, _ in spool.chunks():
                member.write(np.array([_id(line) for line in lines], name_type).tobytes())


def _id(line: bytes) -> str:
    found: str = orjson.loads(line)["id"]
    return found


def _write_sidecar(spool: Spool, path: Path) -> None:
    with _aside(path.with_suffix(SIDECAR)) as file:
        for lines, _ in spool.chunks():
            file.writelines(lines)


def _put_vectors(spool: Spool, file: IO[bytes], dim: int) -> None:
    _put_header(file, (spool.progress.rows, dim), _VECTOR_TYPE)
    for _, vectors in spool.chunks():
        file.write(vectors.tobytes())


def _put_header(file: IO[bytes], shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)


@contextmanager
def _aside(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole."""
    aside = path.with_name(f"{path.name}.new")
    with aside.open("wb") as file:
        yield file
    aside.replace(path)
