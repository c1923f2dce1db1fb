"""Messages of `inference.GRPCInferenceService` to records and back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.kserve.datatypes import (
    BYTES,
    array_of,
    bytes_array,
    count_of,
    dtype_of,
    raw_of,
    shape_text,
)
from kokeshi.gateway.kserve.parameters import (
    CallParameters,
    Value,
    call_parameters,
    classification_of,
    region_of,
)
from kokeshi.gateway.kserve.records import InferAnswer, InferCall, InferInput, WantedOutput
from kokeshi.gateway.kserve.shared_memory import SharedMemory

# The field of InferTensorContents that holds each type; the others have none, and come raw.
_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_NO_PARAMETERS: Final[Mapping[str, Value]] = {}
_AT_ONCE: Final = CallParameters()


def call_of(request: pb.ModelInferRequest, regions: SharedMemory) -> InferCall:
    """A request; its tensors are views of its bytes.

    Args:
        request: the message.
        regions: where tensors in shared memory are.

    Raises:
        InvalidRequestError: a tensor or parameter is not what it says.
        NotFoundError: a region of shared memory is not registered.
    """
    asked = parameters_of(request)
    outputs = request.outputs
    return InferCall(
        request.model_name,
        request.model_version,
        request.id,
        _inputs(request, regions),
        [_wanted(output) for output in outputs] if outputs else (),
        asked.priority,
        asked.timeout_us,
    )


def parameters_of(request: pb.ModelInferRequest) -> CallParameters:
    """The parameters of a request.

    Raises:
        InvalidRequestError: one is of the wrong type, reserved, or asks for a sequence.
    """
    return call_parameters(_values(request.parameters)) if request.parameters else _AT_ONCE


def response_of(answer: InferAnswer, regions: SharedMemory) -> pb.ModelInferResponse:
    """The message of an answer.

    Args:
        answer: of the model.
        regions: to which outputs are written that were asked for there.

    Raises:
        InvalidRequestError: an output does not fit the place it was asked for.
        NotFoundError: a region of shared memory is not registered.
    """
    response = pb.ModelInferResponse(
        model_name=answer.model, model_version=answer.version, id=answer.id
    )
    tensors, raws = response.outputs, response.raw_output_contents
    for output in answer.outputs:
        tensors.add(name=output.name, datatype=output.datatype, shape=output.shape)
        region = output.wanted.region
        if region is None:
            raws.append(_raw(output.datatype, output.array))
        else:
            regions.write(region, output.name, raw_of(output.datatype, output.array))
            raws.append(b"")  # contents are in the order of the outputs
    return response


def repository_parameters(
    parameters: Mapping[str, pb.ModelRepositoryParameter],
) -> dict[str, object]:
    """Parameters of a load or unload as plain values."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }


def _values(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Value]:
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }


def _wanted(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> WantedOutput:
    if not output.parameters:
        return WantedOutput(output.name)
    values = _values(output.parameters)
    return WantedOutput(output.name, classification_of(values), region_of(output.name, values))


def _inputs(request: pb.ModelInferRequest, regions: SharedMemory) -> Sequence[InferInput]:
    """Raw contents belong to the inputs that are not in shared memory, in that order."""
    raws = request.raw_input_contents
    place, found = 0, []
    for tensor in request.inputs:
        name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
        values = _values(tensor.parameters) if tensor.parameters else _NO_PARAMETERS
        region = region_of(name, values) if values else None
        if region is not None:
            _check_alone(request, tensor)
            array = array_of(name, datatype, shape, regions.read(region))
        elif place < len(raws):
            if tensor.HasField("contents"):
                raise InvalidRequestError(
                    "contents field must not be specified when using raw_input_contents for "
                    f"{name!r} for model {request.model_name!r}"
                )
            array = array_of(name, datatype, shape, raws[place])
            place += 1
        elif tensor.HasField("contents"):
            array = _typed(name, datatype, shape, tensor.contents)
        else:
            raise InvalidRequestError(
                f"unable to find data for input tensor {name!r} for model "
                f"{request.model_name!r} in request"
            )
        found.append(InferInput(name, datatype, shape, array))
    if place < len(raws):
        raise InvalidRequestError(
            f"expected {place} raw_input_contents for model {request.model_name!r}, got {len(raws)}"
        )
    return found


def _check_alone(
    request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor
) -> None:
    if tensor.HasField("contents"):
        raise InvalidRequestError(
            "unexpected 'content' provided when using shared memory for input tensor "
            f"{tensor.name!r} for model {request.model_name!r}"
        )


def _typed(
    name: str, datatype: str, shape: tuple[int, ...], contents: pb.InferTensorContents
) -> NDArray[Any]:
    """A tensor of typed contents."""
    dtype, count = dtype_of(name, datatype), count_of(name, shape)
    field = _FIELDS.get(datatype)
    filled = [descriptor.name for descriptor, _ in contents.ListFields()]
    if field is None or filled not in ([], [field]):
        expected = f"{field!r}" if field else "raw_input_contents"
        raise InvalidRequestError(
            f"unexpected explicit tensor data for input tensor {name!r} of type {datatype!r}: "
            f"expected {expected}, got {', '.join(map(repr, filled)) or 'none'}"
        )
    values = getattr(contents, field)
    if datatype == BYTES:
        return bytes_array(name, values, shape)
    if len(values) != count:
        raise InvalidRequestError(
            f"input element count mismatch for input {name!r}: expected {count} for "
            f"{datatype} {shape_text(shape)}, got {len(values)}"
        )
    try:
        array = np.fromiter(values, dtype, count)
    except OverflowError as error:  # 8 and 16 bits come in fields of 32
        raise InvalidRequestError(f"a value of input {name!r} does not fit {datatype}") from error
    return array.reshape(shape)


def _raw(datatype: str, array: NDArray[Any]) -> bytes:
    return bytes(raw_of(datatype, array)) if datatype == BYTES else array.tobytes()
