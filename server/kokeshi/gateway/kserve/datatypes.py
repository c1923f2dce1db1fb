"""Tensors as KServe v2 writes them: names of types, and raw bytes in C order, little-endian.

Triton's extension for binary data says how:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import struct
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError

BYTES: Final = "BYTES"
# BF16 has no type in numpy: its bits travel as uint16, as engines take them.
DTYPES: Final[dict[str, "np.dtype[Any]"]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    BYTES: np.dtype("O"),
}
_LENGTH: Final = struct.Struct("<I")  # before each element of BYTES
_PREFIX: Final = "TYPE_"
_STRING: Final = "TYPE_STRING"  # what a configuration calls BYTES


def datatype_of(data_type: str) -> str:
    """The protocol's name of a type of the configuration: "FP32" of "TYPE_FP32"."""
    return BYTES if data_type == _STRING else data_type.removeprefix(_PREFIX)


def dtype_of(name: str, datatype: str) -> "np.dtype[Any]":
    """The numpy type of a tensor.

    Raises:
        InvalidRequestError: there is no such type.
    """
    try:
        return DTYPES[datatype]
    except KeyError:
        raise InvalidRequestError(
            f"datatype of input {name!r} is one of {', '.join(DTYPES)}, not {datatype!r}"
        ) from None


def shape_text(shape: Sequence[int]) -> str:
    """A shape as Triton prints it: "[-1,3]"."""
    return f"[{','.join(map(str, shape))}]"


def count_of(name: str, shape: Sequence[int]) -> int:
    """Number of elements of a shape.

    Raises:
        InvalidRequestError: an axis is negative.
    """
    if shape and min(shape) < 0:
        raise InvalidRequestError(
            f"all dimensions of input {name!r} are specified as 0 or more, not {shape_text(shape)}"
        )
    return prod(shape)


def array_of(
    name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview
) -> NDArray[Any]:
    """The tensor in raw bytes, read-only; a view of them, but for BYTES and BOOL.

    Args:
        name: of the input, for messages.
        datatype: the protocol's name of its type.
        shape: of the tensor.
        raw: its elements; of BYTES, each after its length as a uint32.

    Raises:
        InvalidRequestError: type, shape and bytes do not fit together.
    """
    dtype = dtype_of(name, datatype)
    count = count_of(name, shape)
    if datatype == BYTES:
        return shaped(name, _elements(name, count, raw), shape)
    if count * dtype.itemsize != len(raw):
        raise InvalidRequestError(
            f"input byte size mismatch for input {name!r}: expected {count * dtype.itemsize} "
            f"for {datatype} {shape_text(shape)}, got {len(raw)}"
        )
    values = np.frombuffer(raw, dtype)
    if not values.flags.aligned:  # of a place that the client chose; graphs need better
        values = values.copy()
        values.flags.writeable = False
    if datatype == "BOOL":  # any byte but 0 is true, and a graph must see 1
        values = values.view(np.uint8) != 0
        values.flags.writeable = False
    return shaped(name, values, shape)


def raw_of(datatype: str, array: NDArray[Any]) -> bytes | memoryview:
    """The raw bytes of a tensor; a view of it where it lies in C order."""
    if datatype == BYTES:
        return b"".join(
            _LENGTH.pack(len(element)) + element for element in map(_encoded, array.ravel())
        )
    ordered = np.ascontiguousarray(array, DTYPES[datatype])
    return ordered.reshape(-1).view(np.uint8).data


def bytes_array(name: str, elements: Sequence[bytes], shape: Sequence[int]) -> NDArray[Any]:
    """A tensor of BYTES from its elements.

    Raises:
        InvalidRequestError: their number is not that of the shape.
    """
    count = count_of(name, shape)
    if len(elements) != count:
        raise InvalidRequestError(
            f"expected {count} string elements for input {name!r}, got {len(elements)}"
        )
    array = np.empty(count, object)
    array[:] = elements
    array.flags.writeable = False
    return shaped(name, array, shape)


def _encoded(element: bytes | str) -> bytes:
    return element.encode() if isinstance(element, str) else element


def shaped(name: str, array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The array in a shape.

    Raises:
        InvalidRequestError: no array can have it.
    """
    try:
        return array.reshape(shape)
    except ValueError as error:  # more axes than numpy has, or too long beside an axis of 0
        raise InvalidRequestError(
            f"shape of input {name!r} cannot be held: {shape_text(shape[:9])}"
        ) from error


def _elements(name: str, count: int, raw: bytes | memoryview) -> NDArray[Any]:
    """The elements of BYTES, (count,)."""
    found: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        if len(found) == count:
            raise InvalidRequestError(
                f"unexpected number of string elements for input {name!r}: expecting {count}, "
                f"and {end - at} bytes are left after them"
            )
        if end - at < _LENGTH.size:
            raise InvalidRequestError(
                f"incomplete string length indicator for input {name!r}: expecting "
                f"{_LENGTH.size} bytes but only {end - at} bytes available"
            )
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if length > end - at:
            raise InvalidRequestError(
                f"incomplete string element {len(found)} for input {name!r}: expecting {length} "
                f"bytes but only {end - at} bytes available"
            )
        found.append(bytes(raw[at : at + length]))
        at += length
    return bytes_array(name, found, (count,))
