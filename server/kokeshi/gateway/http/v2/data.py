"""Tensors as JSON: lists of numbers, truth values or strings, nested or flat, row by row."""

from base64 import b64decode
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.kserve.datatypes import (
    BYTES,
    bytes_array,
    count_of,
    dtype_of,
    shape_text,
    shaped,
)

BASE64: Final = "base64"  # of the parameter `content_type` of an input
# JSON has no form for them that all agree on; Triton takes and sends them in binary alone.
BINARY_ONLY: Final = frozenset({"FP16", "BF16"})
# What JSON has for the elements of each kind of numpy's types.
_ELEMENTS: Final[dict[str, tuple[set[type], str]]] = {
    "b": ({bool}, "true or false"),
    "u": ({int}, "integers"),
    "i": ({int}, "integers"),
    "f": ({int, float}, "numbers"),
    "O": ({str}, "strings"),
}
_SHOWN: Final = {
    bool: "a truth value",
    int: "an integer",
    float: "a number with a fraction or exponent",
    str: "a string",
    dict: "an object",
    type(None): "null",
}


def array_of_json(
    name: str, datatype: str, shape: Sequence[int], data: object, *, content_type: str = ""
) -> NDArray[Any]:
    """The tensor in an input's `data`.

    Args:
        name: of the input.
        datatype: the protocol's name of its type.
        shape: of the tensor.
        data: JSON; its nesting says nothing, as the shape is told.
        content_type: "base64": elements of BYTES are base64; else they stand for their UTF-8.

    Raises:
        InvalidRequestError: data of another type, out of the type's range, or too few or many.
    """
    dtype = dtype_of(name, datatype)
    if datatype in BINARY_ONLY:
        raise InvalidRequestError(
            f"receiving {datatype} data via JSON is not supported; please use the binary data "
            f"format for input {name!r}"
        )
    flat = _flat(name, data)
    _check_elements(name, datatype, dtype.kind, flat)
    if datatype == BYTES:
        return bytes_array(name, _encoded(name, flat, content_type), shape)
    if len(flat) != count_of(name, shape):
        raise InvalidRequestError(
            f"'data' of input {name!r} does not fit its shape {shape_text(shape)}: expected "
            f"{count_of(name, shape)} elements, got {len(flat)}"
        )
    return shaped(name, _numbers(name, datatype, dtype, flat), shape)


def _flat(name: str, data: object) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRequestError(f"'data' of input {name!r} is a list, not {_SHOWN[type(data)]}")
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1:
            raise InvalidRequestError(f"'data' of input {name!r} has lists beside elements")
        data = list(chain.from_iterable(data))
    return data


def _check_elements(name: str, datatype: str, kind: str, flat: Sequence[Any]) -> None:
    expected, told = _ELEMENTS[kind]
    wrong = set(map(type, flat)) - expected
    if wrong:
        found = " and ".join(sorted(_SHOWN[each] for each in wrong))
        raise InvalidRequestError(
            f"'data' of input {name!r}, of {datatype}, is {told}, not {found}"
        )


def _numbers(name: str, datatype: str, dtype: "np.dtype[Any]", flat: Sequence[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # to infinity, as Triton's conversion in C does
            return np.array(flat, np.float64).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for value in (min(flat, default=0), max(flat, default=0)):
            if not limits.min <= value <= limits.max:
                raise InvalidRequestError(
                    f"'data' of input {name!r}, of {datatype}, is from {limits.min} to "
                    f"{limits.max}, not {value}"
                )
    return np.array(flat, dtype)


def _encoded(name: str, flat: Sequence[str], content_type: str) -> list[bytes]:
    if content_type != BASE64:
        return [text.encode() for text in flat]
    try:
        return [b64decode(text, validate=True) for text in flat]
    except ValueError as error:
        raise InvalidRequestError(f"'data' of input {name!r} is not valid base64") from error


def json_of_array(name: str, datatype: str, array: NDArray[Any]) -> list[str] | NDArray[Any]:
    """What an output's `data` is as JSON: flat; numbers stay an array, which orjson writes.

    Raises:
        InvalidRequestError: its type, or its bytes, have no form in JSON.
    """
    if datatype in BINARY_ONLY:
        raise InvalidRequestError(
            f"sending {datatype} data via JSON is not supported; please use the binary data "
            f"format for output {name!r}"
        )
    if datatype != BYTES:
        return np.ascontiguousarray(array).ravel()
    try:
        return [str(each, "utf-8") for each in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"output {name!r} holds bytes that are no UTF-8; please use the binary data format"
        ) from error


def is_plain(data: object) -> bool:
    """Whether strict JSON can say it: it has no NaN and no infinity."""
    if not isinstance(data, np.ndarray) or data.dtype.kind != "f":
        return True
    return bool(np.isfinite(data).all())
