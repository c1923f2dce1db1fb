"""Searches of a stream: several at once, each answered as soon as it is ready."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from kokeshi.errors import KokeshiError
from kokeshi.gateway.calls import for_client, message_of
from kokeshi.service.types import Failed, Found


@dataclass(frozen=True)
class Asked:
    """A search of a stream: its number, and what answers it."""

    id: int
    search: Callable[[], Awaitable[Found]]


@dataclass(frozen=True)
class Answered:
    """What came of it."""

    id: int
    outcome: Found | Failed


async def answer_each(asked: AsyncIterator[Asked], most: int) -> AsyncIterator[Answered]:
    """Answers searches as they are ready; no further one is read while `most` run.

    A search that fails is answered with its error and stops no other one.

    Raises:
        KokeshiError: the stream itself cannot be read; what was asked before is answered first.
    """
    ready: asyncio.Queue[Answered | None] = asyncio.Queue()
    places = asyncio.Semaphore(most)

    async def run(one: Asked) -> None:
        try:
            ready.put_nowait(Answered(one.id, await _outcome(one)))
        finally:
            places.release()

    async def start(group: asyncio.TaskGroup) -> KokeshiError | None:
        """What the stream ended with; raised in the group it would cancel those that run."""
        try:
            await places.acquire()
            async for one in asked:
                group.create_task(run(one))
                await places.acquire()
        except KokeshiError as error:
            return error
        return None

    async def read() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                broken = await start(group)
            if broken is not None:
                raise broken
        finally:
            ready.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (answer := await ready.get()) is not None:
            yield answer
        await _ended(reader)
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _outcome(one: Asked) -> Found | Failed:
    try:
        return await one.search()
    except KokeshiError as error:
        if not for_client(error):
            raise
        return Failed(error.code, message_of(error))


async def _ended(reader: "asyncio.Task[None]") -> None:
    """Raises what ended the reading, as it was before the group of tasks wrapped it."""
    try:
        await reader
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
