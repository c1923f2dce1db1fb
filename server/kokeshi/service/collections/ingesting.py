"""A stream of batches: embedded side by side, stored in their order, answered item by item."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
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
    OnConflict,
    Unreadable,
)
from kokeshi.service.collections.batch import Work, are_those, refuse_bad
from kokeshi.service.collections.ground import Ground, given_vector
from kokeshi.service.collections.keeping import Keeping

# What is wrong with items, or with what they ask: sending them again cannot help. Anything else
# ends the stream, so that the client comes back with the batch.
REFUSALS: Final = (InvalidRequestError, AlreadyExistsError, SpaceMismatchError)
MAX_STREAM_ID_CHARACTERS: Final = 64  # a request id is longer by the batch's place


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
        queue: asyncio.Queue[asyncio.Task[Work] | None] = asyncio.Queue()
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
        queue: "asyncio.Queue[asyncio.Task[Work] | None]",
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
    ) -> Work:
        most = self._ground.limits.max_inputs
        if not 1 <= len(batch.items) <= most:
            raise InvalidRequestError(f"a batch has 1 to {most} items, not {len(batch.items)}")
        work = Work(batch.offset)
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
        work: Work,
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
        work: Work,
    ) -> None:
        """Embeds items one by one, side by side: the engine batches those that are left."""

        async def one(position: int, item: NewItem) -> None:
            try:
                await self._embed(spec, {position: item}, options, work)
            except REFUSALS as error:
                work.refuse(position, error, item.id)

        async with asyncio.TaskGroup() as group:
            for position, item in items.items():
                group.create_task(one(position, item))

    async def _store(self, spec: index.CollectionSpec, work: Work, options: IngestOptions) -> None:
        positions = list(work.rows)
        if not positions:
            return
        try:
            await self._write(spec, work, positions, options)
        except InvalidRequestError as error:
            if refuse_bad(spec, work):
                await self._store_some(spec, work, list(work.rows), options)
            else:
                await self._settle(spec, work, positions, options, error)
        except AlreadyExistsError as error:
            await self._apart(spec, work, positions, options, error)

    async def _store_some(
        self,
        spec: index.CollectionSpec,
        work: Work,
        positions: Sequence[int],
        options: IngestOptions,
    ) -> None:
        """Stores what is new of some items; halves them where one exists."""
        if not positions:
            return
        try:
            await self._write(spec, work, positions, options)
        except InvalidRequestError as error:
            await self._settle(spec, work, positions, options, error)
        except AlreadyExistsError as error:
            await self._apart(spec, work, positions, options, error)

    async def _write(
        self,
        spec: index.CollectionSpec,
        work: Work,
        positions: Sequence[int],
        options: IngestOptions,
    ) -> None:
        written = await self._keeping.store(
            spec,
            [work.rows[position] for position in positions],
            on_conflict=options.on_conflict,
            request_id=f"{options.stream_id}.{work.place}" if options.stream_id else "",
            tenant=options.tenant,
        )
        work.stored(written.count, written.sequence)

    async def _settle(
        self,
        spec: index.CollectionSpec,
        work: Work,
        positions: Sequence[int],
        options: IngestOptions,
        error: InvalidRequestError,
    ) -> None:
        """Items whose place in the stream was taken: by them, by some of them, or by others."""
        there = await self._there(spec, work, positions, options)
        if work.is_embedded and are_those(there, [work.rows[each] for each in positions]):
            work.stored(len(there), max(item.seq for item in there))
        elif there and len(positions) == 1 and options.on_conflict is OnConflict.FAIL:
            work.refuse(positions[0], AlreadyExistsError(f"item {there[0].id!r} exists"))
        else:
            await self._apart(spec, work, positions, options, error)

    async def _there(
        self,
        spec: index.CollectionSpec,
        work: Work,
        positions: Sequence[int],
        options: IngestOptions,
    ) -> Sequence[index.Item]:
        """What is stored under the ids of some items; empty where one is not."""
        ids = [work.rows[position].id for position in positions]
        if options.stream_id:
            with suppress(NotFoundError):
                return await self._ground.call(
                    lambda: self._ground.store.get(
                        spec.name, ids, with_vectors=True, tenant=options.tenant
                    )
                )
        return []

    async def _apart(
        self,
        spec: index.CollectionSpec,
        work: Work,
        positions: Sequence[int],
        options: IngestOptions,
        error: KokeshiError,
    ) -> None:
        """Stores items by halves, where that can help; else refuses them."""
        is_parted = options.on_conflict is OnConflict.FAIL and len(positions) > 1
        if not is_parted or (isinstance(error, InvalidRequestError) and not options.stream_id):
            for position in positions:
                work.refuse(position, error)
            return
        middle = (len(positions) + 1) // 2
        for half in (positions[:middle], positions[middle:]):
            await self._store_some(spec, work, half, options)


def _check(options: IngestOptions) -> None:
    checks.check_tenant(options.tenant)
    if options.stream_id:
        checks.check_request_id(options.stream_id)
    if len(options.stream_id) > MAX_STREAM_ID_CHARACTERS:
        raise InvalidRequestError(
            f"a stream_id is at most {MAX_STREAM_ID_CHARACTERS} characters, "
            f"not {len(options.stream_id)}"
        )


async def _finished(
    reader: "asyncio.Task[None]", queue: "asyncio.Queue[asyncio.Task[Work] | None]"
) -> None:
    """Gives up what is under way."""
    tasks: list[asyncio.Task[Work]] = []
    while not queue.empty():
        task = queue.get_nowait()
        if task is not None:
            task.cancel()
            tasks.append(task)
    await asyncio.gather(reader, *tasks, return_exceptions=True)
