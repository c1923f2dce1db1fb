"""Tensors as Triton names them, and as ONNX Runtime takes them."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.protocol import Value
from kokeshi.errors import ArtefactError, InvalidRequestError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtValue

STRING: Final = "TYPE_STRING"
BF16: Final = "TYPE_BF16"
_ONNX_BF16: Final = 16  # TensorProto.BFLOAT16
_DATA_TYPES: Final = {  # ONNX Runtime's names, and Triton's
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": STRING,
    "tensor(bfloat16)": BF16,
}
NUMPY_TYPES: Final[dict[str, type[np.generic]]] = {  # what numpy holds them in
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    STRING: np.object_,
    BF16: np.uint16,
}


def values_of(arguments: Sequence[Any]) -> tuple[Value, ...]:
    """Inputs or outputs of a session, as records.

    Raises:
        ArtefactError: one is no tensor, or of a type that Triton does not have.
    """
    return tuple(
        Value(argument.name, _data_type(argument), _shape(argument.shape)) for argument in arguments
    )


def _data_type(argument: Any) -> str:  # noqa: ANN401 - onnxruntime is untyped
    if argument.type not in _DATA_TYPES:
        raise ArtefactError(f"{argument.name!r} of the graph is of type {argument.type}")
    return _DATA_TYPES[argument.type]


def _shape(axes: Sequence[int | str | None]) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in axes)


def run_with_strings(
    session: "InferenceSession", inputs: Sequence[Value], outputs: Sequence[Value], given: Tensors
) -> dict[str, NDArray[Any]]:
    """Runs a graph that has strings among its tensors.

    Raises:
        InvalidRequestError: one is not UTF-8.
    """
    strings = {value.name for value in inputs if value.data_type == STRING}
    feed = {name: _texts(name, it) if name in strings else it for name, it in given.items()}
    results = session.run([value.name for value in outputs], feed)
    return {
        value.name: _bytes(it) if value.data_type == STRING else it
        for value, it in zip(outputs, results, strict=True)
    }


def run_with_bfloat16(
    session: "InferenceSession", inputs: Sequence[Value], outputs: Sequence[Value], given: Tensors
) -> dict[str, NDArray[Any]]:
    """Runs a graph that has bfloat16 among its tensors, which numpy does not have."""
    feed = {value.name: _to_ort(value, given[value.name]) for value in inputs}
    results = session.run_with_ort_values([value.name for value in outputs], feed)
    return {value.name: _from_ort(value, it) for value, it in zip(outputs, results, strict=True)}


def _to_ort(value: Value, array: NDArray[Any]) -> "OrtValue":
    import onnxruntime

    whole = np.ascontiguousarray(array)
    if value.data_type == BF16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(whole, _ONNX_BF16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(whole)


def _from_ort(value: Value, result: "OrtValue") -> NDArray[Any]:
    if value.data_type != BF16:
        return result.numpy()
    shape = tuple(result.shape())
    memory = (ctypes.c_uint16 * int(np.prod(shape))).from_address(result.data_ptr())
    return np.ctypeslib.as_array(memory).reshape(shape).copy()


def _bytes(texts: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.array([text.encode() for text in texts.ravel()], np.object_).reshape(texts.shape)


def _texts(name: str, array: NDArray[Any]) -> NDArray[np.object_]:
    """Bytes (or texts) as texts: of bytes, ONNX Runtime would take the printed form."""
    try:
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidRequestError(f"input {name!r} holds bytes that are not UTF-8") from None
    return np.array(texts, np.object_).reshape(array.shape)
