"""What is noted of a request with an id, so that it is done once."""

from dataclasses import dataclass
from typing import Final, Self

from kokeshi.errors import InvalidRequestError

DAY_S: Final = 86_400


@dataclass(frozen=True)
class Entry:
    """A request, noted before its rows are written and again after it.

    A retry of one that was cut short finds the first note, and writes the same rows under the same
    numbers.

    Attributes:
        key: of the request.
        content: fingerprint of its items.
        seq: the first number that its rows got.
        count: rows.
        is_done: they are written.
    """

    key: str
    content: str
    seq: int
    count: int
    is_done: bool

    def checked(self, request_id: str, content: str) -> Self:
        """This entry, of a request that comes again.

        Raises:
            InvalidRequestError: it comes with other items.
        """
        if self.content != content:
            raise InvalidRequestError(f"request id {request_id!r} was used with other items")
        return self
