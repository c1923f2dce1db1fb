"""A whole body that is the one input of a model: a row of a batch, or a picture.

In Triton the header Inference-Header-Content-Length of 0 says that there is no JSON; a body whose
type is an image's says so too, and goes to an image input decoded and resized.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from math import prod

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http.v2.body import Parts
from kokeshi.gateway.kserve import InferInput
from kokeshi.gateway.kserve.contracts import Contract, InputContract
from kokeshi.gateway.kserve.datatypes import BYTES, array_of, bytes_array


def raw_input(contract: Contract, parts: Parts) -> InferInput:
    """The input that a body is.

    Raises:
        InvalidRequestError: the model takes several, or the body does not fit its shape.
    """
    if len(contract.inputs) != 1:
        raise InvalidRequestError(
            f"raw request must only have 1 input to be deduced but got {len(contract.inputs)} "
            f"inputs in {contract.model!r} model configuration"
        )
    (expected,) = contract.inputs.values()
    if parts.is_image and expected.encoded:
        return _element(expected.name, (1,), parts.raw)
    axes = list(expected.shape)
    if contract.max_rows:
        axes[0] = 1
    if expected.datatype == BYTES:
        return _element(expected.name, _one_element(expected.name, axes), parts.raw)
    shape = _shape(expected, axes, len(parts.raw))
    array = array_of(expected.name, expected.datatype, shape, parts.raw)
    return InferInput(expected.name, expected.datatype, shape, array)


def _element(name: str, shape: tuple[int, ...], raw: memoryview) -> InferInput:
    return InferInput(name, BYTES, shape, bytes_array(name, [bytes(raw)], shape))


def _one_element(name: str, axes: list[int]) -> tuple[int, ...]:
    if prod(axes) != 1:
        raise InvalidRequestError(
            f"for BYTES datatype raw input {name!r}, the model must have input shape [1]"
        )
    return tuple(axes)


def _shape(expected: InputContract, axes: list[int], size_bytes: int) -> tuple[int, ...]:
    """`axes`, with what the body has in place of the one that may have any length."""
    if axes.count(-1) > 1:
        raise InvalidRequestError(
            f"the shape of the raw input {expected.name!r} can not be deduced because there are "
            "more than one variable-sized dimension"
        )
    row_bytes = prod(size for size in axes if size != -1) * expected.dtype.itemsize
    length = size_bytes // max(row_bytes, 1)
    return tuple(length if size == -1 else size for size in axes)
