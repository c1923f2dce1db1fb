"""From inputs and items of JSON bodies to those of the service."""

import sys
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http import collection_bodies, requests
from kokeshi.gateway.http.body import parse_json
from kokeshi.gateway.http.checking import B, checked
from kokeshi.gateway.integers import exactly, is_rounded
from kokeshi.gateway.tensors import tensor
from kokeshi.images import Limits, from_base64
from kokeshi.service.types import Audio, Image, Input, NewItem, Tensor, Text

KINDS: Final = ("image", "text", "audio", "tensor")
# The whole body is within its limit; the service refuses images over theirs.
ANY_SIZE: Final = Limits(max_bytes=sys.maxsize)


def inputs(bodies: Iterable[requests.InputBody], field: str) -> list[Input]:
    """All inputs of a JSON body.

    Raises:
        InvalidRequestError: one cannot be read; its position is named.
    """
    return [one_input(body, f"{field}[{i}]") for i, body in enumerate(bodies)]


def one_input(body: requests.InputBody, place: str) -> Input:
    """One input of a JSON body.

    Raises:
        InvalidRequestError: it cannot be read; `place` is named.
    """
    given = [kind for kind in KINDS if getattr(body, kind) is not None]
    if len(given) != 1:
        told = " and ".join(given) or "none"
        raise InvalidRequestError(f"{place} holds one of {', '.join(KINDS)}, not {told}")
    try:
        return _unpacked(body)
    except InvalidRequestError as error:
        error.args = (f"{place}: {error}",)
        raise


def _unpacked(body: requests.InputBody) -> Input:
    if body.image is not None:
        return image(body.image)
    if body.text is not None:
        return Text(body.text)
    if body.audio is not None:
        return Audio(_decoded(body.audio))
    return _tensor(body.tensor or requests.TensorBody())


def image(text: str) -> Image:
    """An image from base64 or a data URI.

    Raises:
        InvalidRequestError: it is neither.
    """
    return Image(from_base64(text, ANY_SIZE))


def _tensor(body: requests.TensorBody) -> Tensor:
    if (body.data is None) == (body.values is None):
        raise InvalidRequestError("a tensor holds either data or values")
    if body.data is not None:
        return tensor(body.data_type, body.shape, _decoded(body.data))
    if body.shape or body.data_type:
        raise InvalidRequestError("a tensor with values takes no data_type and no shape")
    with np.errstate(over="ignore"):  # to infinity, which the service refuses
        return Tensor(np.asarray(body.values, dtype=np.float32))


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidRequestError("the data is not valid base64") from error


def with_metadata(body: type[B], data: bytes, metadata: Callable[[B], Iterable[Any]]) -> B:
    """A body of items; integers of their metadata that are too long come as they are.

    Args:
        body: what is read.
        data: JSON.
        metadata: of the items of a body.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    found = checked(body, parse_json(data))
    if not any(map(is_rounded, metadata(found))):
        return found
    return checked(body, exactly(data))


def new_items(bodies: Iterable[collection_bodies.NewItemBody]) -> list[NewItem]:
    """All items of a JSON body.

    Raises:
        InvalidRequestError: the input of one cannot be read; its position is named.
    """
    return [new_item(body, f"items[{i}]") for i, body in enumerate(bodies)]


def new_item(body: collection_bodies.NewItemBody, place: str) -> NewItem:
    """One item of a JSON body.

    Raises:
        InvalidRequestError: its input cannot be read; `place` is named.
    """
    return NewItem(body.id, one_input(body.input, f"{place}.input"), body.metadata)
