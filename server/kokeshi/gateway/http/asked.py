"""From REST requests to what the service is asked, whatever the content type."""

from collections.abc import Callable, Iterable
from typing import Any, Final, get_origin

from fastapi import Request

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside
from kokeshi.gateway.http import collection_bodies, requests
from kokeshi.gateway.http.body import (
    JSON,
    MULTIPART,
    OCTETS,
    Part,
    media_type,
    parse_json,
    read,
    read_form,
    wrong_type,
)
from kokeshi.gateway.http.checking import B, checked, shown
from kokeshi.gateway.http.json_inputs import inputs, new_items, one_input, with_metadata
from kokeshi.gateway.integers import exactly, is_rounded
from kokeshi.service.types import Image, Input, NewItem, Text

IMAGE: Final = "image"
_CURL: Final = "-F image=@FILE"


async def ask(
    request: Request, options: type[B], body: type[B], field: str = "inputs"
) -> tuple[B, list[Input]]:
    """Options and inputs of a call.

    A form has files named `image` and plain fields named `text` for inputs; a raw body is one
    image. Their other fields and the query are options.

    Args:
        request: the request.
        options: what forms and queries may say.
        body: `options` and the inputs, as JSON.
        field: of `body` that holds the inputs.

    Raises:
        InvalidRequestError: the body cannot be read, or a field is unknown or of a wrong type.
    """
    if media_type(request) == JSON:
        asked, size_bytes = await ask_sized(request, body)
        return asked, await aside(size_bytes, lambda: inputs(getattr(asked, field), field))
    parts = await read_parts(request)
    taken, rest = _sorted(parts, _is_input)
    return from_texts(request, options, rest), [_from_part(part) for part in taken]


async def ask_pair(request: Request) -> tuple[requests.CompareOptions, Input, Input]:
    """Options and both inputs of Compare. In a form, a file is an image, a plain field a text.

    Raises:
        InvalidRequestError: see `ask`; also when a side is missing or there twice.
    """
    if media_type(request) == JSON:
        asked = await ask_json(request, requests.CompareRequest)
        return asked, one_input(asked.left, "left"), one_input(asked.right, "right")
    if media_type(request) != MULTIPART:
        raise wrong_type(request, JSON, MULTIPART)
    parts = await read_form(request)
    taken, rest = _sorted(parts, lambda part: part.field in {"left", "right"})
    sides = {part.field: _from_part(part) for part in taken}
    if len(taken) != 2 or len(sides) != 2:  # noqa: PLR2004 - a pair
        raise InvalidRequestError(
            f"a form to compare has one `left` and one `right`, not {len(taken)} inputs"
        )
    options = from_texts(request, requests.CompareOptions, rest)
    return options, sides["left"], sides["right"]


async def ask_json(request: Request, body: type[B]) -> B:
    """A JSON body.

    Raises:
        InvalidRequestError: see `ask`.
    """
    return (await ask_sized(request, body))[0]


async def ask_sized(
    request: Request,
    body: type[B],
    metadata: Callable[[B], Iterable[Any]] = lambda _: (),
) -> tuple[B, int]:
    """A JSON body, and how many bytes it had; `metadata` is that of its items.

    Raises:
        InvalidRequestError: see `ask`.
    """
    if media_type(request) != JSON:
        raise wrong_type(request, JSON)
    if request.query_params:
        names = ", ".join(map(repr, request.query_params))
        raise InvalidRequestError(f"with a JSON body, options are its fields, not a query: {names}")
    data = await read(request)
    return await aside(len(data), lambda: with_metadata(body, data, metadata)), len(data)


async def read_parts(request: Request) -> list[Part]:
    """Parts of a form, or the one of a raw body.

    Raises:
        InvalidRequestError: the body is of another type, or malformed.
    """
    kind = media_type(request)
    if kind == MULTIPART:
        return await read_form(request)
    if kind == OCTETS or kind.startswith("image/"):
        return [Part(IMAGE, await read(request), "")]
    raise wrong_type(request, JSON, MULTIPART, "image/*", OCTETS)


def _sorted(
    parts: Iterable[Part], is_input: Callable[[Part], bool]
) -> tuple[list[Part], list[Part]]:
    """Inputs, and all else."""
    taken: list[Part] = []
    rest: list[Part] = []
    for part in parts:
        (taken if is_input(part) else rest).append(part)
    return taken, rest


def from_texts(request: Request, options: type[B], fields: Iterable[Part] = ()) -> B:
    """Options from the plain fields of a form and the query.

    Raises:
        InvalidRequestError: a field is a file, unknown, there twice or not of its type.
    """
    pairs = list(request.query_params.multi_items())
    for part in fields:
        if part.file_name is not None:
            raise InvalidRequestError(
                f"a file is not expected in field {part.field!r}; image files are fields {IMAGE!r}"
            )
        if part.field == IMAGE:
            raise InvalidRequestError(f"field {IMAGE!r} is a file, not a text; with curl, {_CURL}")
        pairs.append((part.field, part.data.decode()))
    return checked(options, _gathered(options, pairs), strict=False)


def _gathered(options: type[requests.Body], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        field = options.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise InvalidRequestError(f"field {name!r} is there twice")
        else:
            found[name] = value
    return found


def _is_input(part: Part) -> bool:
    return part.field == ("text" if part.file_name is None else IMAGE)


def _from_part(part: Part) -> Input:
    return Text(part.data.decode()) if part.file_name is None else Image(part.data)


async def ask_items(request: Request) -> tuple[collection_bodies.AddItemsOptions, list[NewItem]]:
    """Options and items of AddItems.

    Raises:
        InvalidRequestError: see `ask`; also when ids or metadata do not match the inputs.
    """
    if media_type(request) == JSON:
        asked, size_bytes = await ask_sized(
            request,
            collection_bodies.AddItemsRequest,
            lambda asked: (item.metadata for item in asked.items),
        )
        return asked, await aside(size_bytes, lambda: new_items(asked.items))
    parts = await read_parts(request)
    taken, rest = _sorted(parts, _is_input)
    form = from_texts(request, collection_bodies.AddItemsForm, rest)
    ids = form.id or [part.file_name or "" for part in taken]
    told = form.metadata or ["{}"] * len(taken)
    if not len(ids) == len(told) == len(taken):
        raise InvalidRequestError(
            f"{len(taken)} inputs need as many ids, not {len(ids)}, and as many metadata or none, "
            f"not {len(form.metadata)}"
        )
    return form, [
        NewItem(id_, _from_part(part), _metadata(text))
        for id_, part, text in zip(ids, taken, told, strict=True)
    ]


def _metadata(text: str) -> dict[str, Any]:
    metadata = parse_json(text.encode(), "the metadata")
    if is_rounded(metadata):
        metadata = exactly(text)
    if not isinstance(metadata, dict):
        raise InvalidRequestError(f"metadata is a JSON object, not {shown(metadata)}")
    return metadata
