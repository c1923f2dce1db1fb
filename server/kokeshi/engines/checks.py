"""What a request must bring and may ask for, worked out once from a version's configuration."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.config import ModelConfig, Tensor
from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES
from kokeshi.errors import ArtefactError, InvalidRequestError


class _Input(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    dims: tuple[int, ...]  # -1 is any size
    fixed: bool  # comparing the axes after the first with `dims` says all


class Checks:
    """Checks the requests to one version.

    Args:
        name: of the model, for messages.
        config: whole, with its inputs and outputs.

    Raises:
        ArtefactError: the configuration names no inputs or no outputs.
    """

    def __init__(self, name: str, config: ModelConfig) -> None:
        if not (config.input and config.output):
            raise ArtefactError("the configuration names no inputs or no outputs")
        self._name = name
        self._first = 1 if config.max_batch_size > 0 else 0  # of the axes that `dims` speaks of
        self._inputs = tuple(_input(tensor) for tensor in config.input)
        self._outputs = frozenset(tensor.name for tensor in config.output)
        self.max_rows = max(1, config.max_batch_size)

    def rows(self, inputs: Tensors) -> int:
        """Number of rows of a request, 1 where the model has no batch axis of Triton's.

        Raises:
            InvalidRequestError: names, dtypes, shapes or rows are not those of the configuration.
        """
        if len(inputs) != len(self._inputs):
            raise self._wrong_names(inputs)
        first, rows = self._first, 1
        for expected in self._inputs:
            name, dtype, dims, fixed = expected
            tensor = inputs.get(name)
            if tensor is None:
                raise self._wrong_names(inputs)
            shape = tensor.shape
            if not (fixed and shape[first:] == dims) and not _fits(shape, dims, first):
                raise self._wrong_tensor(expected, tensor)
            if tensor.dtype != dtype:
                raise self._wrong_tensor(expected, tensor)
            rows = shape[0] if first else 1
        if not 0 < rows <= self.max_rows or len(inputs) > 1:
            self._check_rows(rows, inputs)
        return rows

    def _check_rows(self, rows: int, inputs: Tensors) -> None:
        if self._first and any(len(tensor) != rows for tensor in inputs.values()):
            told = ", ".join(f"{name!r} {len(inputs[name])}" for name in sorted(inputs))
            raise InvalidRequestError(
                f"inputs of model {self._name!r} have equally many rows, not {told}"
            )
        if not 0 < rows <= self.max_rows:
            raise InvalidRequestError(
                f"model {self._name!r} takes 1 to {self.max_rows} rows at once, not {rows}"
            )

    def outputs(self, wanted: Sequence[str]) -> None:
        """Checks the names of the outputs asked for.

        Raises:
            InvalidRequestError: one is not an output of the model.
        """
        if not self._outputs.issuperset(wanted):
            unknown = set(wanted) - self._outputs
            raise InvalidRequestError(
                f"model {self._name!r} has the outputs {_names(self._outputs)}, "
                f"not {_names(unknown)}"
            )

    def _wrong_names(self, inputs: Tensors) -> InvalidRequestError:
        kind = "input" if len(self._inputs) == 1 else "inputs"
        known = _names(expected.name for expected in self._inputs)
        return InvalidRequestError(
            f"model {self._name!r} takes the {kind} {known}, not {_names(inputs)}"
        )

    def _wrong_tensor(self, expected: _Input, tensor: NDArray[Any]) -> InvalidRequestError:
        axes = ", ".join(["n"] * self._first + [str(size) for size in expected.dims])
        return InvalidRequestError(
            f"input {expected.name!r} of model {self._name!r} is {expected.dtype} ({axes}), "
            f"not {tensor.dtype} {tensor.shape}"
        )


def _input(tensor: Tensor) -> _Input:
    dtype = np.dtype(NUMPY_TYPES[tensor.data_type])
    fixed = bool(tensor.dims) and -1 not in tensor.dims
    return _Input(tensor.name, dtype, tensor.dims, fixed)


def _fits(shape: tuple[int, ...], dims: tuple[int, ...], first: int) -> bool:
    return len(shape) == first + len(dims) and all(
        wanted in {-1, size} for size, wanted in zip(shape[first:], dims, strict=True)
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
