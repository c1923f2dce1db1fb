"""Bodies of KServe v2: JSON, and behind it the raw bytes of tensors.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import Request

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside
from kokeshi.gateway.http.body import media_type, parse_json, read, service_of
from kokeshi.gateway.http.v2.compression import decompressed
from kokeshi.gateway.http.v2.fields import Fields

HEADER_LENGTH: Final = "inference-header-content-length"
MAX_DIGITS: Final = 18  # Python refuses to read some thousands
IMAGES: Final = "image/"
# The numbers that JSON has no word for, as RapidJSON (Triton's parser) and Python write them.
_NO_JSON: Final = (b"NaN", b"Inf")


@dataclass(frozen=True)
class Parts:
    """A body; `json` is empty where all of it is one raw tensor."""

    json: memoryview
    raw: memoryview
    is_image: bool = False  # raw is an encoded picture


async def read_parts(request: Request) -> Parts:
    """The body of an inference request.

    Raises:
        InvalidRequestError: it is damaged, or shorter than its JSON is said to be.
        TooLargeError: it is over the limit, as sent or unpacked.
        UnimplementedError: it is compressed in a way that is not read here.
    """
    whole = memoryview(await _unpacked(request))
    header = request.headers.get(HEADER_LENGTH)
    if header is None and media_type(request).startswith(IMAGES):
        return Parts(whole[:0], whole, is_image=True)
    length = len(whole) if header is None else _header_length(header, len(whole))
    is_image = not length and media_type(request).startswith(IMAGES)
    return Parts(whole[:length], whole[length:], is_image)


async def _unpacked(request: Request) -> bytes:
    data = await read(request)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    limit = service_of(request).limits.max_request_bytes
    return await aside(
        len(data) if not encoding else limit, lambda: decompressed(data, encoding, limit)
    )


def _header_length(header: str, size_bytes: int) -> int:
    if not (header.isascii() and header.isdecimal() and len(header) <= MAX_DIGITS):
        raise InvalidRequestError(
            f"unable to parse Inference-Header-Content-Length: expected a number, got {header!r}"
        )
    if int(header) > size_bytes:
        raise InvalidRequestError(
            f"inference header size should be in range (0, {size_bytes}), got: {int(header)}"
        )
    return int(header)


async def read_fields(request: Request, place: str) -> Fields:
    """A JSON body, which may be empty.

    Args:
        request: the request.
        place: what it is, for messages.

    Raises:
        InvalidRequestError: it is no JSON object.
    """
    data = await read(request)
    return Fields(await aside(len(data), lambda: parse_json(data or b"{}")), place)


def parse_lenient(data: memoryview) -> Any:  # noqa: ANN401 - any JSON value
    """JSON in which numbers may be NaN or infinite, as Triton reads it.

    Raises:
        InvalidRequestError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        whole = bytes(data)
        if not any(word in whole for word in _NO_JSON):
            raise InvalidRequestError(f"failed to parse the request JSON: {error}") from error
    try:
        content = json.loads(whole)
        orjson.dumps(content)  # refuses what orjson would not have read: lone surrogates, huge ints
    except (ValueError, RecursionError, orjson.JSONEncodeError) as error:
        raise InvalidRequestError(f"failed to parse the request JSON: {error}") from error
    return content
