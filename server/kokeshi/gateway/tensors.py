"""Raw tensors from the wire: C order, little-endian."""

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from kokeshi.errors import InvalidRequestError
from kokeshi.service.types import Tensor

DTYPES: Final = {"uint8": "u1", "float32": "<f4", "int64": "<i8"}
MAX_AXES: Final = 8


def tensor(data_type: str, shape: Sequence[int], data: bytes) -> Tensor:
    """A tensor from its bytes.

    Raises:
        InvalidRequestError: the type is unknown, or type, shape and bytes do not fit together.
    """
    if data_type not in DTYPES:
        raise InvalidRequestError(
            f"the data type of a tensor is one of {', '.join(DTYPES)}, not {data_type!r}"
        )
    # numpy cannot hold every shape that has no elements
    if not 1 <= len(shape) <= MAX_AXES or min(shape) < 1:
        raise InvalidRequestError(
            f"the shape of a tensor is 1 to {MAX_AXES} positive numbers, not {list(shape[:9])}"
        )
    dtype = np.dtype(DTYPES[data_type])
    if prod(shape) * dtype.itemsize != len(data):
        raise InvalidRequestError(
            f"a {data_type} tensor of shape {list(shape)} is {prod(shape) * dtype.itemsize} bytes, "
            f"not {len(data)}"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    return Tensor(array.astype(dtype.newbyteorder("="), copy=False))
