"""Content of requests as the records that it should be; in words, why it is not."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http import requests

B = TypeVar("B", bound=requests.Body)

SHOWN_CHARS: Final = 40  # of a value that was refused


def checked(body: type[B], content: Any, *, strict: bool = True) -> B:  # noqa: ANN401 - unchecked
    """Content as the record it should be.

    Args:
        body: the record.
        content: JSON, or texts by name.
        strict: whether a text that reads as a number is none.

    Raises:
        InvalidRequestError: the first thing that is wrong, with its place.
    """
    try:
        # None leaves the choice to the fields: enums are always read from words
        return body.model_validate(content, strict=None if strict else False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        raise InvalidRequestError(told(problem, body.model_fields)) from error


def told(problem: Mapping[str, Any], known: Iterable[str] = ()) -> str:
    """What pydantic found wrong, in words.

    Args:
        problem: one of pydantic's `errors()`.
        known: fields that there are, to name the nearest to an unknown one.
    """
    place = ".".join(map(str, problem["loc"])) or "the body"
    match problem["type"]:
        case "missing":
            return f"field {place!r} is required"
        case "extra_forbidden":
            near = get_close_matches(place, known, n=1)
            return f"field {place!r} is unknown" + (f"; did you mean {near[0]!r}" if near else "")
        case "model_type" | "dict_type":
            return f"{place} is a JSON object, not {shown(problem['input'])}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{place}: {message}, not {shown(problem['input'])}"


def shown(value: object) -> str:
    """A value that was refused, by its kind or cut to a length that fits a message."""
    if isinstance(value, Mapping | list):
        return "an object" if isinstance(value, Mapping) else "a list"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
