"""Requests and answers on the wire, without a copy of the tensors by protobuf.

A serialised message is the sum of its parts: parts that are equal from request to request (names,
shapes, places in shared memory) are made by protobuf once and kept, and the tensors' own bytes are
joined to them. Of an answer only the frame is read here; the tensors are views of its bytes.

https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.config import ModelConfig, Tensor
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES, STRING

# Field numbers of ModelInferRequest and ModelInferResponse, with the wire type of bytes.
_RAW_INPUT: Final = bytes([7 << 3 | 2])
_OUTPUT: Final = 5 << 3 | 2
_RAW_OUTPUT: Final = 6 << 3 | 2
_BYTES_TYPE: Final = 2
_MORE: Final = 0x80
_LENGTH: Final = struct.Struct("<I")
KEPT_FRAMES: Final = 4096

Kept = tuple[str, str, tuple[int, ...], "Place | None"]  # name, datatype, shape


class Place(NamedTuple):
    """Where a tensor lies in shared memory."""

    region: str
    offset: int
    nbytes: int


class Output(NamedTuple):
    """One output of an answer; `raw` is empty where the tensor lies in shared memory."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: memoryview

    def array(self) -> NDArray[Any]:
        """The tensor, a view of the answer where its alignment allows."""
        return tensor_of(self.datatype, self.shape, self.raw)


@lru_cache(KEPT_FRAMES)
def frame(model: str, version: str, inputs: tuple[Kept, ...], outputs: tuple[Any, ...]) -> bytes:
    """Everything of a request but its tensors and parameters.

    Args:
        model: name.
        version: number, or "" for the newest.
        inputs: name, datatype, shape and place of each.
        outputs: name and place of each that is wanted; none means all.
    """
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, datatype, shape, place in inputs:
        _put(message.inputs.add(name=name, datatype=datatype, shape=shape), place)
    for name, place in outputs:
        _put(message.outputs.add(name=name), place)
    return bytes(message.SerializeToString())


def _put(tensor: Any, place: Place | None) -> None:  # noqa: ANN401 - tritonclient is untyped
    if place is not None:
        tensor.parameters["shared_memory_region"].string_param = place.region
        tensor.parameters["shared_memory_offset"].int64_param = place.offset
        tensor.parameters["shared_memory_byte_size"].int64_param = place.nbytes


@lru_cache(KEPT_FRAMES)
def scheduling(priority: int, timeout_us: int) -> bytes:
    """The parameters of the schedule-policy extension, where they are asked for."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest()
    if priority:
        message.parameters["priority"].uint64_param = priority
    if timeout_us:
        message.parameters["timeout"].int64_param = timeout_us
    return bytes(message.SerializeToString())


def joined(parts: Sequence[bytes], tensors: Sequence[NDArray[Any]]) -> bytes:
    """A whole request, of its parts and the tensors that travel in it."""
    whole: list[Any] = list(parts)
    for tensor in tensors:
        raw = raw_of(tensor)
        whole += (_RAW_INPUT, _varint(raw.nbytes), raw)
    return b"".join(whole)


def raw_of(tensor: NDArray[Any]) -> memoryview:
    """The bytes of a tensor, a view of it where it is contiguous."""
    if tensor.dtype == np.object_:
        texts = (item if isinstance(item, bytes) else str(item).encode() for item in tensor.ravel())
        return memoryview(b"".join(_LENGTH.pack(len(text)) + text for text in texts))
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def tensor_of(datatype: str, shape: tuple[int, ...], raw: memoryview) -> NDArray[Any]:
    """The tensor in some bytes.

    Raises:
        ValueError: they are not as many as the shape needs.
    """
    dtype = NUMPY_TYPES[config_type(datatype)]
    if dtype is np.object_:
        return np.array([*_texts(raw)], np.object_).reshape(shape)
    flat = np.frombuffer(raw, dtype)
    # unaligned arrays are slow, and no C library expects them
    return (flat if flat.flags.aligned else flat.copy()).reshape(shape)


def _texts(raw: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        (size,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        yield bytes(raw[at : at + size])
        at += size


def outputs_of(answer: bytes) -> list[Output]:
    """The outputs of a serialised ModelInferResponse.

    Raises:
        ValueError: it is none, or a tensor's bytes are missing.
    """
    heads, raws = [], []
    view = memoryview(answer)
    at, end = 0, len(answer)
    while at < end:
        tag, start, after = _field(answer, at)
        if tag == _OUTPUT:
            heads.append(answer[start:after])
        elif tag == _RAW_OUTPUT:
            raws.append(view[start:after])
        at = after
    if not raws:  # every tensor lies in shared memory
        raws = [view[:0]] * len(heads)
    return [Output(*_head(head), raw) for head, raw in zip(heads, raws, strict=True)]


def _field(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the field at a place; all of an answer's are of bytes."""
    tag = data[at]
    if tag & 7 != _BYTES_TYPE or tag & _MORE:
        raise ValueError(f"field with tag {tag} in an answer")
    size = data[at + 1]
    at += 2
    if size & _MORE:
        size &= ~_MORE
        shift = 7
        while (byte := data[at]) & _MORE:
            size |= (byte & ~_MORE) << shift
            shift, at = shift + 7, at + 1
        size |= byte << shift
        at += 1
    return tag, at, at + size


@lru_cache(KEPT_FRAMES)
def _head(message: bytes) -> tuple[str, str, tuple[int, ...]]:
    from tritonclient.grpc import service_pb2

    output = service_pb2.ModelInferResponse.InferOutputTensor.FromString(message)
    return output.name, output.datatype, tuple(output.shape)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & ~_MORE & 0xFF | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def wire_type(data_type: str) -> str:
    """The protocol's name of a configuration's data type: FP32 of TYPE_FP32."""
    return "BYTES" if data_type == STRING else data_type.removeprefix("TYPE_")


def config_type(datatype: str) -> str:
    """The other way round."""
    return STRING if datatype == "BYTES" else f"TYPE_{datatype}"


def row_bytes(tensor: Tensor) -> int:
    """Bytes of one row, 0 where the configuration does not say."""
    if tensor.data_type == STRING or -1 in tensor.dims or tensor.data_type not in NUMPY_TYPES:
        return 0
    return prod(tensor.dims) * np.dtype(NUMPY_TYPES[tensor.data_type]).itemsize


def blank_row(config: ModelConfig) -> Mapping[str, NDArray[Any]]:
    """One row of nothing for every input: what Triton's own warm-up runs with `zero_data`."""
    batch = (1,) if config.max_batch_size else ()
    return {tensor.name: _blank(tensor, batch) for tensor in config.input}


def _blank(tensor: Tensor, batch: tuple[int, ...]) -> NDArray[Any]:
    shape = batch + tuple(1 if size < 0 else size for size in tensor.dims)
    if tensor.data_type == STRING:
        return np.full(shape, b"", np.object_)
    return np.zeros(shape, NUMPY_TYPES[tensor.data_type])
