"""One request on its way, and how those who wait for it learn that it is answered."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.engines.batches import Run
from kokeshi.engines.protocol import Done, Tensors
from kokeshi.engines.timers import Timer
from kokeshi.errors import KokeshiError

logger = logging.getLogger(__name__)


class Stage(Enum):
    """Where a request is on its way."""

    WAITING = "waiting"  # in the queue
    LEADING = "leading"  # first of a batch that is being gathered
    TAKEN = "taken"  # in a batch that runs
    DONE = "done"  # answered
    GONE = "gone"  # its caller left, or was refused


OVER: Final = (Stage.DONE, Stage.GONE)


@dataclass(slots=True, eq=False)
class Entry:
    """One request.

    A blocked thread waits for it at `wake`, or a coroutine for `future`, or `done` is called.
    """

    inputs: Tensors
    rows: int
    since_ns: int
    level: int = 0
    shapes: dict[str, tuple[int, ...]] | None = None  # of one row; only equal ones merge
    limit_ns: int = 0  # when it loses its place in the queue; 0: never
    hard_ns: int = 0  # when its caller stops waiting for its turn; 0: never
    deadline_ns: int = 0  # when its caller stops waiting for its answer; 0: never
    delayed: bool = False
    stage: Stage = Stage.WAITING
    wake: "threading.Lock | None" = None  # held until there is something to do for its thread
    future: "asyncio.Future[dict[str, NDArray[Any]]] | None" = None
    done: Done | None = None  # None too when it was called
    timer: Timer | None = None  # of the next limit, where `done` is to be called
    run: Run | None = None  # an instance: its thread is to lead the next batch
    outputs: dict[str, NDArray[Any]] | None = None
    error: KokeshiError | None = None


def wake(entries: Iterable[Entry]) -> None:
    """Has those who asked for requests that are answered see it."""
    awaited: list[Entry] = []
    called: list[Entry] = []
    for entry in entries:
        if entry.stage is not Stage.DONE:
            continue
        if entry.done is not None:
            called.append(entry)
        elif entry.wake is not None:
            lock, entry.wake = entry.wake, None
            lock.release()
        elif entry.future is not None:
            awaited.append(entry)
    if awaited:
        _wake_loops(awaited)
    for entry in called:  # last, because each writes an answer
        tell(entry)


def _wake_loops(entries: Iterable[Entry]) -> None:
    """One wake-up per event loop."""
    futures: dict[asyncio.AbstractEventLoop, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.future is not None:
            futures[entry.future.get_loop()].append(entry)
    for loop, answered in futures.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits on it
            loop.call_soon_threadsafe(_deliver, answered)


def tell(entry: Entry) -> None:
    """Calls back who asked for a request that is over; once, by whoever saw it end."""
    done, entry.done = entry.done, None
    if entry.timer is not None:
        entry.timer.cancel()
    answer = entry.outputs if entry.error is None else entry.error
    if done is None or answer is None:
        return
    call_back(done, answer)


def call_back(done: Done, answer: dict[str, NDArray[Any]] | Exception) -> None:
    """Tells an answer; what goes wrong there is no affair of others who wait for theirs."""
    try:
        done(answer)
    except Exception:
        logger.exception("an answer could not be given")


def _deliver(entries: list[Entry]) -> None:
    for entry in entries:
        future = entry.future
        if future is None or future.done():
            continue
        if entry.error is not None:
            future.set_exception(entry.error)
        elif entry.outputs is not None:
            future.set_result(entry.outputs)
