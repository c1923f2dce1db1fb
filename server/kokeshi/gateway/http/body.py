"""Reading request bodies: never more than the limit, whether or not a length was announced."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from kokeshi.errors import InvalidRequestError, TooLargeError
from kokeshi.service import Service

JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"
OCTETS: Final = "application/octet-stream"
NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
TIMEOUT_MS: Final = "x-request-timeout-ms"
MAX_TIMEOUT_MS: Final = 24 * 3600 * 1000
# Plain form fields beside the files: an id and metadata for each input, and options.
FIELDS_PER_INPUT: Final = 4
SPARE_FIELDS: Final = 64


@dataclass(frozen=True)
class Part:
    """One part of a form; a file has a name, a plain field has none."""

    field: str
    data: bytes
    file_name: str | None = None


def service_of(request: Request) -> Service:
    """The service behind the door."""
    return request.app.state.service


def timeout_s(request: Request) -> float | None:
    """The caller's deadline: the header X-Request-Timeout-Ms, where gRPC has its own.

    Raises:
        InvalidRequestError: it is no number of milliseconds from 1 to a day.
    """
    told = request.headers.get(TIMEOUT_MS)
    if told is None:
        return None
    digits = told.isascii() and told.isdecimal() and len(told) <= len(str(MAX_TIMEOUT_MS))
    if not digits or not 1 <= int(told) <= MAX_TIMEOUT_MS:
        raise InvalidRequestError(
            f"{TIMEOUT_MS} is a number of milliseconds from 1 to {MAX_TIMEOUT_MS}, not {told!r}"
        )
    return int(told) / 1000


def media_type(request: Request) -> str:
    """Type of the body in lower case, without parameters; empty where none was sent."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def wrong_type(request: Request, *accepted: str) -> InvalidRequestError:
    """The error of a body whose type is not read here."""
    return InvalidRequestError(
        f"the content type is one of {', '.join(accepted)}, not {media_type(request)!r}"
    )


async def chunks(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes.

    What comes after a refusal is thrown away by the server as it comes: a connection that is cut
    while the client still sends would lose the answer.

    Raises:
        TooLargeError: it is, or says it is, over the limit.
    """
    limit = service_of(request).limits.max_request_bytes
    error = TooLargeError(f"a request has at most {limit} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise error
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise error
        yield chunk


async def read(request: Request) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: it is over the limit.
    """
    return b"".join([chunk async for chunk in chunks(request)])


def parse_json(data: bytes, place: str = "the body") -> Any:  # noqa: ANN401 - any JSON value
    """A JSON document by the book: no NaN, no comments; `place` is named where it is none.

    Raises:
        InvalidRequestError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"{place} is not valid JSON: {error}") from error


class _InMemory(MultiPartParser):
    """Keeps files in memory: the whole body is within the limit, and a disk is slower."""

    spool_max_size = 0  # never rolls over to a file


async def read_form(request: Request) -> list[Part]:
    """The parts of a multipart body, in their order.

    Plain fields that are empty are left out: it is what a browser sends of those not filled in.

    Raises:
        InvalidRequestError: it is malformed, or has too many parts.
        TooLargeError: it is over the limit.
    """
    limits = service_of(request).limits
    parser = _InMemory(
        request.headers,
        chunks(request),
        max_files=limits.max_inputs + 1,  # one too many reaches the service, which says so
        max_fields=FIELDS_PER_INPUT * limits.max_inputs + SPARE_FIELDS,
        max_part_size=limits.max_request_bytes,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequestError(f"the form cannot be read: {error.message}") from error
    try:
        return [await _part(name, value) for name, value in form.multi_items() if value != ""]
    finally:
        await form.close()


async def _part(name: str, value: str | UploadFile) -> Part:
    if isinstance(value, str):
        return Part(name, value.encode())
    return Part(name, await value.read(), value.filename or "")


async def lines(request: Request) -> AsyncIterator[bytes]:
    """Lines of a body that may be endless; empty ones are left out.

    Raises:
        TooLargeError: a line is over the limit of a request.
    """
    limit = service_of(request).limits.max_request_bytes
    rest = bytearray()
    async for chunk in request.stream():
        seen = len(rest)
        rest += chunk
        if rest.find(b"\n", seen) >= 0:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in filter(bytes.strip, whole):
                yield line
        if len(rest) > limit:
            raise TooLargeError(f"a line has at most {limit} bytes")
    if rest.strip():
        yield bytes(rest)
