"""The parameters of requests and tensors that Triton's extensions define.

Both doors bring them as plain values by name; others than these are the model's own affair, and
ignored.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from kokeshi.errors import InvalidRequestError

Value = bool | int | float | str
FINAL_RESPONSE: Final = "triton_enable_empty_final_response"
_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")
_RESERVED: Final = "triton_"
_REGION: Final = "shared_memory_region"
_OFFSET: Final = "shared_memory_offset"
_BYTE_SIZE: Final = "shared_memory_byte_size"
_MAX_UINT64: Final = 2**64 - 1


class CallParameters(NamedTuple):
    """Of a request: Triton's schedule policy, and how a stream ends."""

    priority: int = 0  # 1 is the highest; 0 is the model's default
    timeout_us: int = 0  # in the queue; 0 is the model's default
    empty_final_response: bool = False


class Region(NamedTuple):
    """Where a tensor lies in shared memory."""

    name: str
    offset: int
    byte_size: int


def call_parameters(parameters: Mapping[str, Value]) -> CallParameters:
    """The parameters of a request.

    Raises:
        InvalidRequestError: one is of the wrong type, reserved, or asks for a sequence.
    """
    for name in _SEQUENCE:
        if parameters.get(name):
            raise InvalidRequestError(f"parameter {name!r}: no model keeps state between requests")
    for name in parameters:
        if name.startswith(_RESERVED) and name != FINAL_RESPONSE:
            raise InvalidRequestError(
                f"parameters beginning with {_RESERVED!r} are reserved: {FINAL_RESPONSE!r} is "
                f"the only one, not {name!r}"
            )
    final = parameters.get(FINAL_RESPONSE, False)
    if not isinstance(final, bool):
        raise InvalidRequestError(f"parameter {FINAL_RESPONSE!r} is a bool, not {final!r}")
    return CallParameters(
        _whole(parameters, "priority", 0), _whole(parameters, "timeout", 0), final
    )


def region_of(tensor: str, parameters: Mapping[str, Value]) -> Region | None:
    """Where a tensor lies in shared memory; None: elsewhere.

    Raises:
        InvalidRequestError: a parameter is missing or of the wrong type.
    """
    name = parameters.get(_REGION)
    if name is None:
        for other in (_OFFSET, _BYTE_SIZE):
            if other in parameters:
                raise InvalidRequestError(
                    f"{other!r} can not be specified without {_REGION!r} parameter "
                    f"for tensor {tensor!r}"
                )
        return None
    if not isinstance(name, str):
        raise InvalidRequestError(f"{_REGION!r} of tensor {tensor!r} is a string, not {name!r}")
    if _BYTE_SIZE not in parameters:
        raise InvalidRequestError(
            f"{_BYTE_SIZE!r} must be specified along with {_REGION!r} parameter "
            f"for tensor {tensor!r}"
        )
    return Region(name, _whole(parameters, _OFFSET, 0), _whole(parameters, _BYTE_SIZE, 0))


def classification_of(parameters: Mapping[str, Value]) -> int:
    """How many classes of an output are wanted in words; 0: its values.

    Raises:
        InvalidRequestError: not a positive number.
    """
    count = parameters.get("classification")
    if count is None:
        return 0
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidRequestError(f"parameter 'classification' is an integer > 0, not {count!r}")
    return count


def _whole(parameters: Mapping[str, Value], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_UINT64:
        raise InvalidRequestError(f"parameter {name!r} is an integer >= 0, not {value!r}")
    return value
