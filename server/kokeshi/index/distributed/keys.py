"""Texts of fixed length that stand for texts of users."""

import base64
import hashlib
import struct
from collections.abc import Sequence
from typing import Final

from kokeshi.index.items import Item, Vector

KEY_CHARACTERS: Final = 32


def digest(*texts: str) -> str:
    """A key of texts, each with its length in front, so that no two lists of them read alike.

    192 bits: two of 2^64 keys agree with probability 2^-65.
    """
    return digest_of_bytes(*(text.encode() for text in texts))


def digest_of_bytes(*parts: bytes) -> str:
    """See `digest`."""
    state = hashlib.blake2b(digest_size=KEY_CHARACTERS * 6 // 8)
    for part in parts:
        state.update(struct.pack("<q", len(part)))
        state.update(part)
    return base64.urlsafe_b64encode(state.digest()).decode()


def fingerprint(items: Sequence[Item], vectors: Vector, metadata: Sequence[bytes]) -> str:
    """What a batch holds, by which a retry is told from another request.

    Args:
        items: of the batch.
        vectors: (rows, dim), theirs.
        metadata: theirs, as JSON.
    """
    return digest_of_bytes(
        *(
            part
            for item, vector, encoded in zip(items, vectors, metadata, strict=True)
            for part in (item.id.encode(), item.origin.encode(), encoded, vector.tobytes())
        )
    )
