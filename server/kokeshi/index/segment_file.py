"""A sealed segment as one file: its arrays one after the other, and how they are read back.

The vectors come first, so that they are mapped from a page's start and never copied to memory.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.crash_points import crash_point
from kokeshi.index.filters import Columns
from kokeshi.index.geometry import Block, Geometry
from kokeshi.index.kernels import Codes
from kokeshi.index.segments import Segment

ALIGNMENT: Final = 64  # bytes
HASHED_BYTES: Final = 4 * 2**20  # at a time: what was just copied is still in the cache

Entry = dict[str, Any]


def write_segment(path: Path, segment: Segment) -> Entry:
    """Writes and fsyncs a segment, dead rows too; what a manifest must say of the file.

    Raises:
        OSError: the disk refused.
    """
    hashing, sections, size = hashlib.sha256(), {}, 0
    with path.open("wb") as file:
        for name, content in _sections(segment):
            padding = bytes(-size % ALIGNMENT)
            sections[name] = [size + len(padding), len(content)]
            for piece in _pieces(padding, content):
                hashing.update(piece)
                file.write(piece)
            size += len(padding) + len(content)
            crash_point("cache.segment_mid_write")
        file.flush()
        crash_point("cache.segment_before_fsync")
        os.fsync(file.fileno())
    return {
        "bytes": size,
        "sha256": hashing.hexdigest(),
        "rows": len(segment),
        "first": int(segment.block.rows[0]),
        "last": int(segment.block.rows[-1]),
        "seq": segment.seq,
        "width": segment.codes.width if segment.codes else None,
        "sections": sections,
    }


def read_segment(path: Path, entry: Entry, geometry: Geometry) -> Segment:
    """A segment from a file whose checksum was found right, as if all of its rows lived.

    Raises:
        ValueError: the file is not what its entry says.
    """
    rows, width = entry["rows"], entry["width"]
    mapped = np.memmap(path, np.uint8, mode="r")

    def view(name: str, dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
        start, size = entry["sections"][name]
        # a plain array over the same memory: a memmap's slices are costly to make
        return mapped[start : start + size].view(np.ndarray).view(dtype).reshape(shape)

    block = Block(
        view("rows", np.int64, rows).copy(),
        view("matrix", np.float32, rows, geometry.dim),
        view("scales", np.float32, -1, rows).copy(),
    )
    codes = None
    if width is not None:
        values = view("codes", np.int8, rows, width).copy()
        codes = Codes(values, view("code_scales", np.float32, rows).copy(), width)
    columns = Columns.from_bytes(view("columns", np.uint8, -1).tobytes())
    if len(columns) != rows:
        raise ValueError(f"expected metadata of {rows} rows, got {len(columns)}")
    return Segment(block, codes, columns, None, entry["seq"], path.stem)


def mapped_block(path: Path, entry: Entry, block: Block) -> Block:
    """A block with its vectors mapped from the file that was written of it."""
    start, size = entry["sections"]["matrix"]
    mapped = np.memmap(path, np.uint8, mode="r")[start : start + size]
    matrix = mapped.view(np.ndarray).view(np.float32).reshape(block.matrix.shape)
    return Block(block.rows, matrix, block.scales)


def _sections(segment: Segment) -> Iterator[tuple[str, memoryview]]:
    yield "matrix", _bytes(segment.block.matrix)
    yield "rows", _bytes(segment.block.rows)
    yield "scales", _bytes(segment.block.scales)
    if segment.codes is not None:
        yield "codes", _bytes(segment.codes.values)
        yield "code_scales", _bytes(segment.codes.scales)
    yield "columns", memoryview(segment.columns.to_bytes())


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _pieces(padding: bytes, content: memoryview) -> Iterator[bytes | memoryview]:
    yield padding
    for start in range(0, len(content), HASHED_BYTES):
        yield content[start : start + HASHED_BYTES]
