"""Compressed bodies: Content-Encoding of requests, Accept-Encoding for answers, as Triton does."""

import zlib
from typing import Final

from kokeshi.errors import InvalidRequestError, TooLargeError, UnimplementedError

IDENTITY: Final = "identity"
# Bits of zlib's window with what surrounds the data.
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
ENCODINGS: Final = tuple(_WINDOW_BITS)
# An answer that is shorter gains nothing: both formats bring some 20 bytes.
MIN_COMPRESSED_BYTES: Final = 1024
# Tensors compress badly whatever the effort; the highest level takes ten times as long.
LEVEL: Final = 1


def decompressed(data: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A body without its compression.

    Args:
        data: as it was sent.
        encoding: the header Content-Encoding; empty where there was none.
        limit_bytes: that the whole may have; no more is ever unpacked.

    Raises:
        InvalidRequestError: the data is damaged.
        TooLargeError: it is over the limit.
        UnimplementedError: it is compressed in another way.
    """
    if encoding in {"", IDENTITY}:
        return data
    if encoding not in ENCODINGS:
        raise UnimplementedError(
            f"unsupported compression type: a body is compressed with {' or '.join(ENCODINGS)}, "
            f"not {encoding!r}"
        )
    reader = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        whole = reader.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is no {encoding} data") from error
    if len(whole) > limit_bytes:
        raise TooLargeError(f"a request has at most {limit_bytes} bytes")
    if not reader.eof or reader.unused_data:
        raise InvalidRequestError(f"the body is not one whole piece of {encoding} data")
    return whole


def compressed(data: bytes, encoding: str) -> bytes:
    """An answer's body with a compression of `ENCODINGS`."""
    writer = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return writer.compress(data) + writer.flush()


def accepted_encoding(header: str) -> str:
    """What an answer is compressed with: the first of those that the client likes best.

    Args:
        header: Accept-Encoding, RFC 9110, 12.5.3; what is malformed in it is passed over.
    """
    best, best_weight = IDENTITY, 0.0
    for choice in header.lower().split(","):
        name, _, parameter = choice.partition(";")
        weight = _weight(parameter)
        if name.strip() in {*ENCODINGS, IDENTITY} and weight > best_weight:
            best, best_weight = name.strip(), weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if not parameter.strip():
        return 1.0
    try:
        return float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0
