"""Raw tensors from the wire: C order, little-endian."""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np

from kokeshi.errors import InvalidRequestError
from kokeshi.service.types import Tensor

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "uint8": np.dtype("u1"),
    "float32": np.dtype("<f4"),
    "int64": np.dtype("<i8"),
}
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
    dtype = DTYPES[data_type]
    size_bytes = prod(shape) * dtype.itemsize
    if size_bytes != len(data):
        raise InvalidRequestError(
            f"a {data_type} tensor of shape {list(shape)} is {size_bytes} bytes, not {len(data)}"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    return Tensor(array.astype(dtype.newbyteorder("="), copy=False))
