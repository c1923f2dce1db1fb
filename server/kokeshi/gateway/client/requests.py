"""From what a caller has in hand to the inputs of a request."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.client.calls import message
from kokeshi.service.types import Audio, Image, Input, NewItem, Tensor, Text
from kokeshi.v1 import collections_pb2, inputs_pb2

# bytes are an encoded image, a str is a text, a Path an image file, an array raw values.
Asked = bytes | str | Path | NDArray[Any] | Input

_DATA_TYPES: Final = {
    "uint8": inputs_pb2.Tensor.DATA_TYPE_UINT8,
    "float32": inputs_pb2.Tensor.DATA_TYPE_FLOAT32,
    "int64": inputs_pb2.Tensor.DATA_TYPE_INT64,
}


def inputs(asked: Iterable[Asked]) -> list[inputs_pb2.Input]:
    """All inputs of a call."""
    if isinstance(asked, (bytes, str, Path)):
        raise InvalidRequestError("inputs are a list, even of one")
    return [one_input(item) for item in asked]


def one_input(asked: Asked) -> inputs_pb2.Input:
    """One input.

    Raises:
        InvalidRequestError: it is of a type that cannot be sent.
    """
    match asked:
        case bytes() | Image():
            data = asked if isinstance(asked, bytes) else asked.data
            return inputs_pb2.Input(image=inputs_pb2.Image(data=data))
        case Path():
            return inputs_pb2.Input(image=inputs_pb2.Image(data=asked.read_bytes()))
        case str() | Text():
            return inputs_pb2.Input(text=asked if isinstance(asked, str) else asked.text)
        case Audio(data=data):
            return inputs_pb2.Input(audio=inputs_pb2.Audio(data=data))
        case np.ndarray() | Tensor():
            return inputs_pb2.Input(
                tensor=_tensor(asked.array if isinstance(asked, Tensor) else asked)
            )
    raise InvalidRequestError(
        f"an input is bytes, str, Path or an array, not {type(asked).__name__!r}"
    )


def _tensor(array: NDArray[Any]) -> inputs_pb2.Tensor:
    if array.dtype.name not in _DATA_TYPES:
        raise InvalidRequestError(
            f"a tensor is of {', '.join(_DATA_TYPES)}, not {array.dtype.name}"
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return message(
        inputs_pb2.Tensor,
        data_type=_DATA_TYPES[array.dtype.name],
        shape=array.shape,
        data=little.tobytes(),
    )


def new_item(item: NewItem) -> collections_pb2.NewItem:
    """An item to keep."""
    return message(
        collections_pb2.NewItem,
        id=item.id,
        input=one_input(item.input),
        metadata_json=_json(item.metadata),
    )


def _json(metadata: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(metadata, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidRequestError(f"metadata is not JSON: {error}") from error
