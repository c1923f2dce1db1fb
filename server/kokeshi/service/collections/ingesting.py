"""A stream of batches: embedded side by side, stored in their order, answered item by item."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from kokeshi import index
from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    KokeshiError,
    NotFoundError,
    SpaceMismatchError,
)
from kokeshi.index import checks
from kokeshi.service.collection_types import (
    IngestBatch,
    Ingested,
    IngestOptions,
    ItemError,
    NewItem,
    Unreadable,
)
from kokeshi.service.collections.ground import Ground, given_vector
from kokeshi.service.collections.keeping import Keeping

# What is wrong with items, or with what they ask: sending them again cannot help. Anything else
# ends the stream, so that the client comes back with the batch.
REFUSALS: Final = (InvalidRequestError, AlreadyExistsError, SpaceMismatchError)
MAX_STREAM_ID_CHARACTERS: Final = 64  # a request id is longer by the batch's place


@dataclass
class _Work:
    """A batch on its way.

    Attributes:
        rows: what can be stored, by position in the batch.
        errors: of the others.
        is_embedded: some vectors were made here, and may differ in a last bit the next time.
    """

    offset: int
    rows: dict[int, index.Item] = field(default_factory=dict)
    errors: dict[int, ItemError] = field(default_factory=dict)
    is_embedded: bool = False
    sequence: int = 0
    count: int = 0

    def refuse(self, position: int, item_id: str, error: KokeshiError) -> None:
        """Leaves an item out."""
        self.rows.pop(position, None)
        self.errors[position] = ItemError(position, item_id, error.code, str(error))

    def answer(self) -> Ingested:
        """What the client hears."""
        errors = [self.errors[position] for position in sorted(self.errors)]
        return Ingested(self.offset, self.sequence, self.count, errors)


class Ingesting:
    """The call `Service.ingest`."""

    def __init__(self, ground: Ground, keeping: Keeping) -> None:
        self._ground = ground
        self._keeping = keeping

    async def ingest(
        self, name: str, batches: AsyncIterator[IngestBatch], options: IngestOptions
    ) -> AsyncIterator[Ingested]:
        """See `Service.ingest`."""
        _check(options)
        spec = (await self._ground.info(name)).spec
        queue: asyncio.Queue[asyncio.Task[_Work] | None] = asyncio.Queue()
        places = asyncio.Semaphore(self._ground.collection_limits.max_ingest_batches)
        reader = asyncio.create_task(self._read(spec, batches, options, queue, places))
        try:
            while (task := await queue.get()) is not None:
                work = await task
                await self._store(spec, work, options)
                yield work.answer()
                places.release()
            await reader  # raises what ended it
        finally:
            reader.cancel()
            await _finished(reader, queue)
            await self._ground.recount(spec.name)

    async def _read(
        self,
        spec: index.CollectionSpec,
        batches: AsyncIterator[IngestBatch],
        options: IngestOptions,
        queue: "asyncio.Queue[asyncio.Task[_Work] | None]",
        places: asyncio.Semaphore,
    ) -> None:
        """Starts to embed batches as they come, no more at once than there are places."""
        last = -1
        try:
            await places.acquire()
            async for batch in batches:
                if batch.offset <= last:
                    raise InvalidRequestError(
                        f"offsets of batches ascend, but {batch.offset} comes after {last}"
                    )
                last = batch.offset
                queue.put_nowait(asyncio.create_task(self._prepare(spec, batch, options)))
                await places.acquire()  # not read before there is one
        finally:
            queue.put_nowait(None)

    async def _prepare(
        self, spec: index.CollectionSpec, batch: IngestBatch, options: IngestOptions
    ) -> _Work:
        most = self._ground.limits.max_inputs
        if not 1 <= len(batch.items) <= most:
            raise InvalidRequestError(f"a batch has 1 to {most} items, not {len(batch.items)}")
        work = _Work(batch.offset)
        items: dict[int, NewItem] = {}
        for position, item in enumerate(batch.items):
            if isinstance(item, Unreadable):
                work.errors[position] = ItemError(position, item.id, item.code, item.message)
            else:
                items[position] = item
        try:
            await self._embed(spec, items, options, work)
        except REFUSALS:
            await self._embed_each(spec, items, options, work)
            work.rows = dict(sorted(work.rows.items()))  # a batch that comes again is the same
        return work

    async def _embed(
        self,
        spec: index.CollectionSpec,
        items: dict[int, NewItem],
        options: IngestOptions,
        work: _Work,
    ) -> None:
        inputs = [item.input for item in items.values()]
        found = await self._ground.vectors(spec, spec.model, inputs, options.space, None)
        work.is_embedded |= any(given_vector(each) is None for each in inputs)
        for (position, item), vector in zip(items.items(), found, strict=True):
            work.rows[position] = index.Item(item.id, vector, item.metadata)

    async def _embed_each(
        self,
        spec: index.CollectionSpec,
        items: dict[int, NewItem],
        options: IngestOptions,
        work: _Work,
    ) -> None:
        """Embeds items one by one, side by side: the engine batches those that are left."""

        async def one(position: int, item: NewItem) -> None:
            try:
                await self._embed(spec, {position: item}, options, work)
            except REFUSALS as error:
                work.refuse(position, item.id, error)

        async with asyncio.TaskGroup() as group:
            for position, item in items.items():
                group.create_task(one(position, item))

    async def _store(self, spec: index.CollectionSpec, work: _Work, options: IngestOptions) -> None:
        if not work.rows:
            return
        positions = list(work.rows)
        try:
            await self._write(spec, work, positions, options, str(work.offset))
        except InvalidRequestError as error:
            if not _refuse_bad(spec, work):
                await self._settle(spec, work, error, options)
            elif work.rows:
                await self._store_some(spec, work, list(work.rows), options, f"{work.offset}.good")
        except AlreadyExistsError:
            await self._halves(spec, work, positions, options, str(work.offset))

    async def _store_some(
        self,
        spec: index.CollectionSpec,
        work: _Work,
        positions: Sequence[int],
        options: IngestOptions,
        place: str,
    ) -> None:
        """Stores what is new of some items; halves them where one exists."""
        try:
            await self._write(spec, work, positions, options, place)
        except AlreadyExistsError as error:
            if len(positions) == 1:
                work.refuse(positions[0], work.rows[positions[0]].id, error)
            else:
                await self._halves(spec, work, positions, options, place)

    async def _halves(
        self,
        spec: index.CollectionSpec,
        work: _Work,
        positions: Sequence[int],
        options: IngestOptions,
        place: str,
    ) -> None:
        middle = (len(positions) + 1) // 2
        for half, part in (("l", positions[:middle]), ("r", positions[middle:])):
            if part:
                await self._store_some(spec, work, part, options, f"{place}{half}")

    async def _write(
        self,
        spec: index.CollectionSpec,
        work: _Work,
        positions: Sequence[int],
        options: IngestOptions,
        place: str,
    ) -> None:
        written = await self._keeping.store(
            spec,
            [work.rows[position] for position in positions],
            on_conflict=options.on_conflict,
            request_id=f"{options.stream_id}.{place}" if options.stream_id else "",
            tenant=options.tenant,
        )
        work.count += written.count
        work.sequence = max(work.sequence, written.sequence)

    async def _settle(
        self,
        spec: index.CollectionSpec,
        work: _Work,
        error: InvalidRequestError,
        options: IngestOptions,
    ) -> None:
        """A whole batch was refused: it is there already, or all of it is wrong.

        Vectors that are embedded again may differ in a last bit, and the store then takes the batch
        for another one under the same request id.
        """
        if options.stream_id and work.is_embedded:
            ids = [row.id for row in work.rows.values()]
            with suppress(NotFoundError):
                there = await self._ground.call(
                    lambda: self._ground.store.get(spec.name, ids, tenant=options.tenant)
                )
                rows = list(work.rows.values())
                if all(
                    item.metadata == row.metadata for item, row in zip(there, rows, strict=True)
                ):
                    work.count, work.sequence = len(there), max(item.seq for item in there)
                    return
        for position, row in list(work.rows.items()):
            work.refuse(position, row.id, error)


def _check(options: IngestOptions) -> None:
    checks.check_tenant(options.tenant)
    if options.stream_id:
        checks.check_request_id(options.stream_id)
    if len(options.stream_id) > MAX_STREAM_ID_CHARACTERS:
        raise InvalidRequestError(
            f"a stream_id is at most {MAX_STREAM_ID_CHARACTERS} characters, "
            f"not {len(options.stream_id)}"
        )


def _refuse_bad(spec: index.CollectionSpec, work: _Work) -> bool:
    """Leaves out every item that can never be stored; false where there is none."""
    seen: set[str] = set()
    is_any = False
    for position, row in list(work.rows.items()):
        try:
            checks.check_ids([row.id])
            checks.encode_metadata(row.id, row.metadata)
            checks.stack_vectors(spec, [row])
            if row.id in seen:
                raise InvalidRequestError(f"id {row.id!r} comes twice in one batch")
            seen.add(row.id)
        except InvalidRequestError as error:
            is_any = True
            work.refuse(position, row.id, error)
    return is_any


async def _finished(
    reader: "asyncio.Task[None]", queue: "asyncio.Queue[asyncio.Task[_Work] | None]"
) -> None:
    """Gives up what is under way."""
    tasks: list[asyncio.Task[_Work]] = []
    while not queue.empty():
        task = queue.get_nowait()
        if task is not None:
            task.cancel()
            tasks.append(task)
    await asyncio.gather(reader, *tasks, return_exceptions=True)
