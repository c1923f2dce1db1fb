"""Batches with a request id are written once, by notes that all gateways share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from kokeshi.errors import InvalidRequestError
from kokeshi.index.distributed.clock import Clock

DAY_S: Final = 86_400


@dataclass(frozen=True)
class Entry:
    """A note of a request.

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


class Journal(Protocol):
    """Notes, kept where the collections are."""

    def find(self, key: str) -> Entry | None:
        """The note of a request that was made before."""

    def note(self, entry: Entry) -> None:
        """Writes a note in the place of an earlier one."""


@dataclass(frozen=True)
class Request:
    """A batch that is to be written.

    Attributes:
        id: as the caller gave it; None: it may be written as often as it comes.
        key: of the id, the tenant and the collection.
        content: fingerprint of its items.
        count: rows.
    """

    id: str | None
    key: str
    content: str
    count: int

    def once(
        self,
        journal: Journal,
        clock: Clock,
        *,
        before: Callable[[], None],
        write: Callable[[int], None],
    ) -> int:
        """Writes the batch, unless it is written; returns the number of its last row.

        It is noted before and again after: a retry of a batch that was cut short finds the first
        note, and writes the same rows under the same numbers.

        Args:
            journal: the notes.
            clock: that numbers rows.
            before: refuses a batch that comes for the first time.
            write: writes its rows, numbered from what it is given.

        Raises:
            InvalidRequestError: the request was made before, with other items.
        """
        entry = None if self.id is None else journal.find(self.key)
        if entry is not None and entry.content != self.content:
            raise InvalidRequestError(f"request id {self.id!r} was used with other items")
        if entry is None:
            before()
            entry = Entry(self.key, self.content, clock.take(self.count), self.count, False)
            self._note(journal, entry)
        if not entry.is_done:
            write(entry.seq)
            self._note(journal, replace(entry, is_done=True))
        return entry.seq + entry.count - 1

    def _note(self, journal: Journal, entry: Entry) -> None:
        if self.id is not None:
            journal.note(entry)
