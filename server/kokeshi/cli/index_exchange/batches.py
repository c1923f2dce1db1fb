"""Records in the portions that one message takes, always cut at the same places."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import orjson

from kokeshi.cli.index_exchange.fields import Record
from kokeshi.errors import InvalidRequestError, TooLargeError
from kokeshi.service.types import Audio, Image, Limits, NewItem, Tensor, Text, Unreadable

MESSAGE_SHARE: Final = 0.9  # of the largest message; the rest is for what goes with the items
ITEM_BYTES: Final = 64  # of an item beside its input, id and metadata


@dataclass
class Batch:
    """Records from number `offset` to before `end`: what can be sent, and what cannot.

    Attributes:
        numbers: of the items, among all records.
        bad: by number.
    """

    offset: int
    end: int
    items: list[NewItem] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[tuple[int, Unreadable]] = field(default_factory=list)


@dataclass(frozen=True)
class Portion:
    """The most that a batch may hold."""

    rows: int
    size_bytes: int

    @classmethod
    def of(cls, limits: Limits) -> "Portion":
        """What a server of these limits takes in one message."""
        return cls(limits.max_inputs, int(limits.max_request_bytes * MESSAGE_SHARE))


def batches(records: Iterator[Record], start: int, most: Portion) -> Iterator[Batch]:
    """Batches in the order of the records; none holds an id twice, only the last may be empty.

    Where a batch ends follows from its records and `most` alone, so that a second run that begins
    at the start of a batch cuts as the first one did.
    """
    batch, ids, room_bytes = Batch(start, start), set[str](), most.size_bytes
    for number, record in enumerate(records, start):
        size_bytes, fault = _checked(record, most)
        if fault is not None:
            batch.bad.append((number, fault))
        elif isinstance(record, NewItem):
            is_full = len(batch.items) == most.rows or size_bytes > room_bytes
            if batch.items and (is_full or record.id in ids):
                yield batch
                batch, ids, room_bytes = Batch(number, number), set(), most.size_bytes
            batch.items.append(record)
            batch.numbers.append(number)
            ids.add(record.id)
            room_bytes -= size_bytes
        batch.end = number + 1
    if batch.end > batch.offset:
        yield batch


def _checked(record: Record, most: Portion) -> tuple[int, Unreadable | None]:
    """What a record takes in a message, and why it cannot be sent, if it cannot."""
    if isinstance(record, Unreadable):
        return 0, record
    try:
        metadata = orjson.dumps(record.metadata, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        told = f"the metadata are not JSON: {error}"
        return 0, Unreadable(record.id, InvalidRequestError.code, told)
    size_bytes = _input_bytes(record) + len(metadata) + 4 * len(record.id) + ITEM_BYTES
    if size_bytes > most.size_bytes:
        told = f"{size_bytes} bytes, but a request holds {most.size_bytes}"
        return 0, Unreadable(record.id, TooLargeError.code, told)
    return size_bytes, None


def _input_bytes(item: NewItem) -> int:
    match item.input:
        case Tensor(array=array):
            return int(array.nbytes)
        case Image(data=data) | Audio(data=data):
            return len(data)
        case Text(text=text):
            return 4 * len(text)
