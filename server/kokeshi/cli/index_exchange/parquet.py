"""Items in Parquet, a group of rows at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.cli.index_exchange.fields import Fields, Record, item_of
from kokeshi.cli.index_exchange.sources import digest_of
from kokeshi.errors import SetupError

CHUNK_ROWS: Final = 1024
NOTE: Final = b"kokeshi"  # key of the file's own metadata


class Parquet:
    """A Parquet file: columns of ids, of vectors (lists of numbers) and of anything else."""

    def __init__(self, path: Path, fields: Fields) -> None:
        pq = needed()
        self._path = path
        self._fields = fields
        try:
            with pq.ParquetFile(path) as file:
                self.total: int | None = file.metadata.num_rows
                self._groups = [
                    file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)
                ]
                self.space = _space(file.schema_arrow.metadata or {})
                names = file.schema_arrow.names
        except ValueError as error:  # as pyarrow's own errors are
            raise SetupError(f"cannot read {path}: {error}") from None
        if fields.needs_ids and fields.id not in names:
            raise SetupError(
                f"expected a column {fields.id!r} in {path}, got {', '.join(names)}; "
                "--id-field names another"
            )

    def records(self, start: int) -> Iterator[Record]:
        """See `Source`."""
        first, skipped = 0, 0
        while first < len(self._groups) and skipped + self._groups[first] <= start:
            skipped += self._groups[first]
            first += 1
        groups = list(range(first, len(self._groups)))
        left_out = start - skipped
        with needed().ParquetFile(self._path) as file:
            for batch in file.iter_batches(CHUNK_ROWS, row_groups=groups):
                some = batch.slice(min(left_out, batch.num_rows))
                left_out -= batch.num_rows - some.num_rows
                yield from self._items(some)

    def _items(self, batch: Any) -> Iterator[Record]:  # noqa: ANN401 - pyarrow is untyped
        vector = self._fields.vector
        is_there = vector in batch.schema.names
        vectors = _vectors(batch.column(vector)) if is_there else [None] * batch.num_rows
        others = batch.drop_columns([vector]) if is_there else batch
        for record, value in zip(others.to_pylist(), vectors, strict=True):
            if value is not None:
                record[vector] = value
            yield item_of(record, self._fields, self._path.parent)

    def content(self) -> str:
        """See `Source`."""
        return digest_of(self._path)


def _vectors(column: Any) -> list[Any]:  # noqa: ANN401 - pyarrow is untyped
    """Arrays (dim,) without a Python number in between; None where there is no list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    ):
        return list(column.to_pylist())
    is_list = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    return [
        values[end - length : end] if there else None
        for there, length, end in zip(is_list, lengths, ends, strict=True)
    ]


def _space(metadata: dict[bytes, bytes]) -> str:
    try:
        note = orjson.loads(metadata.get(NOTE, b"{}"))
    except orjson.JSONDecodeError:
        return ""  # somebody else's
    space = note.get("space") if isinstance(note, dict) else None
    return space if isinstance(space, str) else ""


def needed() -> Any:  # noqa: ANN401 - a module without types
    """`pyarrow.parquet`.

    Raises:
        SetupError: it is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise SetupError("Parquet needs pyarrow: pip install 'kokeshi[parquet]'") from None
    return parquet
