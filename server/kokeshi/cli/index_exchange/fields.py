"""One record of a file as an item to keep, and the names of its fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError, KokeshiError
from kokeshi.service.types import Image, Input, NewItem, Tensor, Text, Unreadable

TEXT: Final = "text"
IMAGE: Final = "image"
METADATA: Final = "metadata"

# One record of a source: an item, or what is wrong with it.
Record = NewItem | Unreadable


@dataclass(frozen=True)
class Fields:
    """Names of the fields that are not metadata; queries are called by nothing."""

    id: str = "id"
    vector: str = "vector"
    needs_ids: bool = True


def item_of(record: Any, fields: Fields, folder: Path, given: Input | None = None) -> Record:  # noqa: ANN401 - whatever a file holds
    """An item of a record.

    Its input is `given`, or what the first of these fields holds: the vector, "text", "image" (the
    bytes of an image file, {"bytes": ...}, or a path in `folder`). The object in "metadata" and all
    other fields that are not null are its metadata.
    """
    item_id = ""
    try:
        if not isinstance(record, Mapping):
            raise InvalidRequestError("expected a JSON object with an id")
        if fields.needs_ids:
            item_id = id_of(record.get(fields.id), fields.id)
        rest = {
            name: value
            for name, value in record.items()
            if name not in {fields.id, METADATA} and value is not None
        }
        taken = given if given is not None else _input(rest, fields, folder)
        return NewItem(item_id, taken, _metadata(record.get(METADATA)) | rest)
    except KokeshiError as error:
        return Unreadable(item_id, error.code, str(error))


def id_of(value: object, name: str) -> str:
    """An id: a text, or a whole number.

    Raises:
        InvalidRequestError: it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRequestError(f"expected an id in the field {name!r}, got {value!r}")
    return str(value)


def _input(rest: dict[str, Any], fields: Fields, folder: Path) -> Input:
    """Takes the input out of the other fields."""
    if fields.vector in rest:
        return vector_of(rest.pop(fields.vector))
    if isinstance(rest.get(TEXT), str):
        return Text(rest.pop(TEXT))
    if IMAGE in rest:
        return _image(rest.pop(IMAGE), folder)
    raise InvalidRequestError(f"expected one of the fields {fields.vector!r}, {TEXT!r}, {IMAGE!r}")


def vector_of(value: Any) -> Tensor:  # noqa: ANN401 - whatever a file holds
    """A vector float32 (dim,).

    Raises:
        InvalidRequestError: it is no list of numbers.
    """
    try:
        with np.errstate(over="ignore"):  # the server refuses what is not finite
            array: NDArray[np.float32] = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise InvalidRequestError("a vector is a list of numbers") from None
    if array.ndim != 1 or isinstance(value, str):
        raise InvalidRequestError("a vector is a list of numbers")
    return Tensor(array)


def _image(value: Any, folder: Path) -> Image:  # noqa: ANN401 - whatever a file holds
    if isinstance(value, Mapping):  # as the data sets of Hugging Face keep them
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Image(value)
    if isinstance(value, str):
        return Image(bytes_of(folder, value))
    raise InvalidRequestError("an image is the bytes of an image file, or a path")


def bytes_of(folder: Path, name: str) -> bytes:
    """The bytes of a file in a folder.

    Raises:
        InvalidRequestError: there is none, or it is outside.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InvalidRequestError(f"the file {name!r} is not in the folder of the records")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"the file {name!r} cannot be read: {error.strerror}") from None


def _metadata(value: object) -> dict[str, Any]:
    if isinstance(value, str | bytes):  # a column of Parquet
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"the metadata are not JSON: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError("the metadata are a JSON object")
    return dict(value)
