"""Pictures that arrive inside JSON: base64, plain or as a data URI."""

import base64
import re
from typing import Final

from kokeshi.errors import InvalidImageError, InvalidRequestError
from kokeshi.images.limits import DEFAULT_LIMITS, Limits, check_bytes

_LINK: Final = re.compile(r"\s*([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_DATA_URI: Final = re.compile(r"\s*data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_URL_SAFE_TO_STANDARD: Final = str.maketrans("-_", "+/")


def from_base64(text: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Bytes of a picture given as base64 or as `data:image/...;base64,...`.

    Takes the standard and the URL-safe alphabet, with or without padding, and ignores white space.

    Raises:
        InvalidRequestError: a link: the server fetches nothing.
        InvalidImageError: not base64, empty, too long, or a data URI of something else.
    """
    if link := _LINK.match(text):
        raise InvalidRequestError(
            f"images must be sent, not linked: expected base64 or a data URI, "
            f"got a link of scheme {link[1]!r}"
        )
    payload = "".join(text[_data_uri_prefix(text) :].split()).rstrip("=")
    check_bytes(len(payload) * 3 // 4 or len(payload), limits)
    payload = payload.translate(_URL_SAFE_TO_STANDARD)
    try:
        return base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True)
    except ValueError as error:
        raise InvalidImageError("the image is not valid base64") from error


def _data_uri_prefix(text: str) -> int:
    """Length of what stands before the base64 of a data URI; 0 for plain base64."""
    if text.lstrip()[:5].lower() != "data:":
        return 0
    uri = _DATA_URI.match(text)
    if uri is None or ";base64" not in uri[2].lower():
        raise InvalidImageError("expected a data URI of the form 'data:image/png;base64,...'")
    if not uri[1].lower().startswith("image/"):
        raise InvalidImageError(f"expected a data URI of an image, got media type {uri[1]!r}")
    return uri.end()
