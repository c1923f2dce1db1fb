"""The requests that a version answers before it is ready, from `model_warmup`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.config import ModelConfig, Warmup, WarmupInput
from kokeshi.engines.folders import inside
from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES, STRING
from kokeshi.errors import ArtefactError

FOLDER: Final = "warmup"  # of the model's folder, where its data files are
_LENGTH_BYTES: Final = 4  # before each string of a data file, little-endian
# Of integers, random data is 0 or 1: where they are indices, more would be out of range.
_INDICES: Final = 2


def warmup_requests(config: ModelConfig, folder: Path) -> Iterator[tuple[str, int, Tensors]]:
    """Name, how often to run, and inputs of each warm-up request; one of batch size 0 is none.

    Raises:
        ArtefactError: a tensor has no size, no data, or not enough in its file.
    """
    for warmup in config.model_warmup:
        if warmup.batch_size:
            inputs = {
                name: _tensor(config, warmup, name, given, folder)
                for name, given in warmup.inputs.items()
            }
            yield warmup.name, max(1, warmup.count), inputs


def _tensor(
    config: ModelConfig, warmup: Warmup, name: str, given: WarmupInput, folder: Path
) -> NDArray[Any]:
    if -1 in given.dims:
        raise ArtefactError(f"warm-up {warmup.name!r} leaves dims of {name!r} open")
    row = _row(warmup.name, name, given, folder)
    if config.max_batch_size == 0:
        return row
    return np.repeat(row[np.newaxis], warmup.batch_size, axis=0)


def _row(warmup: str, name: str, given: WarmupInput, folder: Path) -> NDArray[Any]:
    dtype = np.dtype(NUMPY_TYPES[given.data_type])
    if given.input_data_file:
        content = inside(folder / FOLDER, given.input_data_file).read_bytes()
        return _from_file(warmup, name, given, content)
    if given.data_type == STRING and (given.zero_data or given.random_data):
        return np.full(given.dims, b"", dtype)
    if given.zero_data:
        return np.zeros(given.dims, dtype)
    if given.random_data:
        return _random(given.dims, dtype)
    raise ArtefactError(f"warm-up {warmup!r} gives {name!r} no data")


def _random(dims: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    if dtype == np.uint8:
        return rng.integers(0, 256, dims, dtype)
    if dtype.kind == "f":
        return rng.random(dims).astype(dtype)
    return rng.integers(0, _INDICES, dims).astype(dtype)


def _from_file(warmup: str, name: str, given: WarmupInput, content: bytes) -> NDArray[Any]:
    """A file holds the tensor's own bytes; of strings, each with its length before it."""
    dtype, count = np.dtype(NUMPY_TYPES[given.data_type]), int(np.prod(given.dims))
    if given.data_type == STRING:
        strings = list(_strings(content))
        if len(strings) == count:
            return np.array(strings, np.object_).reshape(given.dims)
        found, wanted = f"{len(strings)} strings", f"{count}"
    elif len(content) >= count * dtype.itemsize:
        return np.frombuffer(content, dtype, count).reshape(given.dims)
    else:
        found, wanted = f"{len(content)} bytes", f"{count * dtype.itemsize}"
    raise ArtefactError(f"warm-up {warmup!r} needs {wanted} for {name!r}; its file has {found}")


def _strings(content: bytes) -> Iterator[bytes]:
    while content:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        yield content[_LENGTH_BYTES : _LENGTH_BYTES + length]
        content = content[_LENGTH_BYTES + length :]
