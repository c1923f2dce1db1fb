"""From protobuf messages to what the service is asked."""

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.tensors import tensor
from kokeshi.service.types import Audio, Image, Input, Text
from kokeshi.v1 import inputs_pb2

E = TypeVar("E", bound=StrEnum)

KINDS: Final = "image, text, audio, tensor"


def optional(message: Message, field: str) -> Any:  # noqa: ANN401 - the type of the field
    """A field declared `optional`; None where it was not sent."""
    return getattr(message, field) if message.HasField(field) else None


def inputs(messages: Iterable[inputs_pb2.Input], field: str = "inputs") -> list[Input]:
    """All inputs of a call.

    Raises:
        InvalidRequestError: one is empty or a malformed tensor; its position is named.
    """
    return [one_input(message, f"{field}[{i}]") for i, message in enumerate(messages)]


def one_input(message: inputs_pb2.Input, place: str) -> Input:
    """One input.

    Raises:
        InvalidRequestError: it is empty or a malformed tensor; `place` is named.
    """
    match message.WhichOneof("kind"):
        case "image":
            return Image(message.image.data)
        case "text":
            return Text(message.text)
        case "audio":
            return Audio(message.audio.data)
        case "tensor":
            return _tensor(message.tensor, place)
    raise InvalidRequestError(f"{place} holds one of {KINDS}, not none")


def _tensor(message: inputs_pb2.Tensor, place: str) -> Input:
    try:
        data_type = word(inputs_pb2.Tensor.DataType, message.data_type, "data_type")
        return tensor(data_type, list(message.shape), message.data)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{place}: {error}") from error


def word(enum: EnumTypeWrapper, number: int, field: str, default: str = "") -> str:
    """The value of an enum as the service has it: `INDEX_KIND_FLAT` is "flat".

    Raises:
        InvalidRequestError: the number is not one of the enum's, or it is 0 and has no default.
    """
    words = _words(enum)
    if number == 0 and default:
        return default
    if number not in words:
        raise InvalidRequestError(f"{field} is one of {', '.join(words.values())}, not {number}")
    return words[number]


@cache
def _words(enum: EnumTypeWrapper) -> dict[int, str]:
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items() if number}


def choice(enum: EnumTypeWrapper, number: int, field: str, default: E) -> E:
    """The value of an enum as the service's own.

    Raises:
        InvalidRequestError: the number is not one of the enum's.
    """
    return type(default)(word(enum, number, field, default.value))
