"""JSON objects whose members are asked for by type, with messages that name their place."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import orjson

from kokeshi.errors import InvalidRequestError

T = TypeVar("T")

MAX_UINT64: Final = 2**64 - 1
SHOWN_CHARS: Final = 40  # of a value that was refused


class Fields:
    """A JSON object.

    Args:
        content: any JSON value.
        place: what it is, for messages.

    Raises:
        InvalidRequestError: it is no object; every method raises it for a member of another type.
    """

    def __init__(self, content: object, place: str) -> None:
        if not isinstance(content, dict):
            raise InvalidRequestError(f"{place} is a JSON object, not {shown(content)}")
        self.content: Mapping[str, Any] = content
        self.place = place

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        return self._typed(name, str, "a string", default)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        return self._typed(name, bool, "true or false", default)

    def count(self, name: str, default: int | None = None) -> int:
        """An integer of 0 or more; required where there is no default."""
        value = self._typed(name, int, "an integer of 0 or more", default)
        if isinstance(value, bool) or not 0 <= value <= MAX_UINT64:
            raise self._wrong(name, "an integer of 0 or more", value)
        return value

    def counts(self, name: str) -> Sequence[int]:
        """A list of integers of 0 or more."""
        values: Sequence[Any] = self._typed(name, list, "a list", None)
        if set(map(type, values)) - {int} or min(values, default=0) < 0:
            raise self._wrong(name, "a list of integers of 0 or more", values)
        return values

    def objects(self, name: str, *, required: bool = False) -> list[Self]:
        """A list of objects, each named by its place in the list."""
        values: list[Any] = self._typed(name, list, "a list of objects", None if required else [])
        return [type(self)(each, f"{name}[{i}]") for i, each in enumerate(values)]

    def parameters(self) -> Self:
        """The member `parameters`, an object that may be absent."""
        return type(self)(self.content.get("parameters", {}), f"'parameters' of {self.place}")

    def _typed(self, name: str, kind: type[T], told: str, default: T | None) -> T:
        if name not in self.content and default is not None:
            return default
        if name not in self.content:
            raise InvalidRequestError(f"{self.place} has no field {name!r}")
        value = self.content[name]
        if not isinstance(value, kind):
            raise self._wrong(name, told, value)
        return value

    def _wrong(self, name: str, told: str, value: object) -> InvalidRequestError:
        return InvalidRequestError(
            f"unable to parse {name!r} of {self.place}: expected {told}, got {shown(value)}"
        )


def shown(value: object) -> str:
    """A JSON value for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = orjson.dumps(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
