"""Fills a collection with pictures, a portion at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from kokeshi.cli.inputs import BATCH
from kokeshi.cli.pictures import Picture
from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    KokeshiError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
)
from kokeshi.gateway.client import Client
from kokeshi.service.types import Image, Limits, NewItem, OnConflict

T = TypeVar("T")

ATTEMPTS: Final = 5  # at a server whose queue is full
MESSAGE_SHARE: Final = 0.9  # of the largest request; the rest is for ids and metadata


@dataclass
class Filling:
    """Fills one collection; the counts are of what was done so far.

    Args:
        client: of the server.
        collection: by name.
        on_conflict: what to do about an id that exists ...
        skip_existing: ... unless it is to be left alone.
        on_progress: told how many pictures were dealt with.
        tenant: whose items they become.
    """

    client: Client
    collection: str
    on_conflict: OnConflict = OnConflict.FAIL
    skip_existing: bool = False
    on_progress: Callable[[int], None] = lambda count: None
    tenant: str = ""
    added: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)

    def run(self, pictures: Sequence[Picture]) -> None:
        """Adds all pictures.

        Raises:
            KokeshiError: a portion was refused; the message names the picture where it is one's
                fault, and how many are stored.
        """
        limits = self.client.info().limits
        try:
            for portion in portions(pictures, limits):
                self._add_new(portion) if self.skip_existing else self._add(portion)
        except KokeshiError as error:
            error.args = (f"{error} ({self.added} pictures were added before)",)
            raise

    def _add_new(self, portion: Sequence[Picture]) -> None:
        """Adds what is not there yet: all or nothing of a portion in the usual case."""
        if self._exist(portion):
            self._skip(portion)
            return
        try:
            self._add(portion)
        except AlreadyExistsError:
            for picture in portion:
                self._skip([picture]) if self._exist([picture]) else self._add([picture])

    def _skip(self, portion: Sequence[Picture]) -> None:
        self.skipped += len(portion)
        self.on_progress(len(portion))

    def _exist(self, portion: Sequence[Picture]) -> bool:
        self.client.describe_collection(self.collection)  # else "not found" could be the collection
        try:
            ids = [picture.id for picture in portion]
            self.client.get_items(self.collection, ids, tenant=self.tenant)
        except NotFoundError:
            return False
        return True

    def _add(self, portion: Sequence[Picture]) -> None:
        items = [
            NewItem(picture.id, Image(picture.read()), picture.metadata) for picture in portion
        ]
        try:
            _patiently(lambda: self._send(items))
        except (InvalidRequestError, TooLargeError) as error:
            if len(portion) == 1:
                error.args = (f"{portion[0].id!r}: {error}",)
                raise
            for picture in portion:  # one by one up to the bad one
                self._add([picture])
        else:
            self.added += len(portion)
            self.on_progress(len(portion))

    def _send(self, items: Sequence[NewItem]) -> None:
        self.client.add_items(
            self.collection, items, on_conflict=self.on_conflict, tenant=self.tenant
        )


def portions(pictures: Sequence[Picture], limits: Limits) -> Iterator[list[Picture]]:
    """The pictures in the portions that a server of these limits takes in one call."""
    most = min(BATCH, limits.max_inputs)
    room_bytes = limits.max_request_bytes * MESSAGE_SHARE
    portion: list[Picture] = []
    size_bytes = 0
    for picture in pictures:
        if portion and (len(portion) == most or size_bytes + picture.size_bytes > room_bytes):
            yield portion
            portion, size_bytes = [], 0
        portion.append(picture)
        size_bytes += picture.size_bytes
    if portion:
        yield portion


def _patiently(work: Callable[[], T]) -> T:
    """Tries again when the server says that it is full."""
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except TooLargeError:
            raise
        except OverloadedError as error:
            time.sleep(error.retry_after_s)
    return work()
