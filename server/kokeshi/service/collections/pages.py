"""Pages of a search or of a listing: a token says where one ended, and nothing is kept between.

The next page of a search is a deeper one of which all up to that hit is left out. So a page may
come late in a list of at most `max_k` hits: what lies past them has no page.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Self

import orjson

from kokeshi import index
from kokeshi.errors import InvalidRequestError
from kokeshi.service.search_types import SearchOptions

MAX_TOKEN_CHARACTERS: Final = 4096
DIGEST_BYTES: Final = 8
# What has no say in which hits come in which order.
FREE: Final = ("k", "page_token", "min_sequence", "with_vectors", "space", "examples")


@dataclass(frozen=True)
class Place:
    """Where a page ends.

    Attributes:
        score: of its last hit.
        id: of that.
        served: hits of all pages up to it.
        sequence: the last write that was seen.
        search: fingerprint of the search, but for its query.
    """

    score: float
    id: str
    served: int
    sequence: int
    search: str

    def token(self) -> str:
        """For the client."""
        told = (self.score, self.id, self.served, self.sequence, self.search)
        return urlsafe_b64encode(orjson.dumps(told)).decode()

    @classmethod
    def read(cls, token: str, search: str) -> Self:
        """The place that a token names.

        Raises:
            InvalidRequestError: it is no token, or that of another search.
        """
        place = cls(*_read(token, (float, str, int, int, str)))
        if place.search != search or place.served < 1:
            raise InvalidRequestError("the page token is that of another search")
        return place

    def after(self, hits: Sequence[index.Hit], *, higher_is_better: bool) -> Sequence[index.Hit]:
        """Hits that come after the page, best first.

        Where its last hit is gone, all that do not score worse than it did count as seen.
        """
        for position, hit in enumerate(hits):
            if hit.id == self.id and hit.score == self.score:
                return hits[position + 1 :]
        if higher_is_better:
            return [hit for hit in hits if hit.score < self.score]
        return [hit for hit in hits if hit.score > self.score]


def fingerprint(collection: str, asked: SearchOptions) -> str:
    """Of all that decides which hits come in which order, but for the query."""
    fixed = {
        name: getattr(asked, name)
        for name in SearchOptions.__dataclass_fields__
        if name not in FREE
    }
    return _digest(collection, fixed)


def listing(spec: index.CollectionSpec, tenant: str, wanted: Mapping[str, Any] | None) -> str:
    """Fingerprint of a listing: of all that decides which items it goes through."""
    return _digest(spec.name, spec.space, tenant, wanted)


def token_of(cursor: str, listing: str) -> str:
    """For the client: a cursor of the store, good for one listing."""
    return urlsafe_b64encode(orjson.dumps((cursor, listing))).decode()


def cursor_of(token: str, listing: str) -> str:
    """The cursor that a token holds.

    Raises:
        InvalidRequestError: it is no token, or that of another listing.
    """
    cursor, known = _read(token, (str, str))
    if known != listing:
        raise InvalidRequestError("the page token is that of another listing")
    return cursor


def _digest(*parts: object) -> str:
    data = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def _read(token: str, kinds: Sequence[type]) -> list[Any]:
    """The values of a token.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        told = orjson.loads(urlsafe_b64decode(token[:MAX_TOKEN_CHARACTERS].encode()))
        return [kind(value) for kind, value in zip(kinds, told, strict=True)]
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(
            f"expected the page token of an earlier answer, got {token!r:.40}"
        ) from error
