"""Adding items by a stream of messages: what is stored stays stored when a later message fails."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from kokeshi.errors import InvalidRequestError, KokeshiError
from kokeshi.service import Service
from kokeshi.service.types import NewItem, OnConflict, Written


@dataclass(frozen=True)
class Batch:
    """The items of one message."""

    collection: str
    items: Sequence[NewItem]
    on_conflict: OnConflict = OnConflict.FAIL
    request_id: str = ""
    space: str = ""
    tenant: str = ""


async def add_batches(
    service: Service, batches: AsyncIterator[Batch], left_s: Callable[[], float | None]
) -> Written:
    """Stores batch after batch.

    Args:
        service: stores them.
        batches: in the order to store them.
        left_s: seconds that the caller still waits; None is for ever.

    Returns:
        How many items were stored, and the sequence number of the last write.

    Raises:
        KokeshiError: a batch could not be read or stored; the message says how many items of the
            batches before it are stored.
    """
    written = Written(0, 0)
    try:
        async for batch in batches:
            last = await service.add_items(
                batch.collection,
                batch.items,
                on_conflict=batch.on_conflict,
                request_id=batch.request_id,
                space=batch.space,
                tenant=batch.tenant,
                timeout_s=left_s(),
            )
            written = Written(written.count + last.count, last.sequence)
    except KokeshiError as error:
        error.args = (f"after {written.count} stored items: {error}",)
        raise
    if not written.sequence:
        raise InvalidRequestError("the stream held no items")
    return written
