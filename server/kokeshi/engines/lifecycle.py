"""Brings versions up and takes them down while requests are answered.

A version that replaces another is published before the other is closed, and the other finishes what
it was asked. One that cannot be loaded replaces nothing.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from kokeshi.engines.board import Board, Key
from kokeshi.engines.cache import ResponseCache
from kokeshi.engines.loading import Loaded, Loader, PartMissingError
from kokeshi.engines.protocol import ModelStatus, State
from kokeshi.engines.repository import Entry, Unreadable
from kokeshi.engines.version import Restarting, Version
from kokeshi.errors import KokeshiError, UnavailableError

logger = logging.getLogger(__name__)

Found = Sequence[Entry | Unreadable]  # what the repository holds of one model


@dataclass(frozen=True)
class Outcome:
    """What came of bringing a model up to date."""

    problems: tuple[str, ...] = ()
    waits: bool = False  # for another part of its method


class Lifecycle:
    """The versions that are loaded. Its coroutines run on one event loop.

    Args:
        loader: loads versions.
        board: shows their states.
        cache: of answers, if they are kept.
        drain_timeout_s: how long a version that is replaced may take to finish.
        loads_at_once: versions that are loaded at the same time.
        max_queue_requests: limit of the queues for which a configuration names none; 0: none.
    """

    def __init__(
        self,
        loader: Loader,
        board: Board,
        cache: ResponseCache | None,
        *,
        drain_timeout_s: float,
        loads_at_once: int,
        max_queue_requests: int,
    ) -> None:
        self._loader = loader
        self._board = board
        self._cache = cache
        self._drain_timeout_s = drain_timeout_s
        self._max_queue_requests = max_queue_requests
        self._threads = ThreadPoolExecutor(loads_at_once, "load")
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()  # of what follows: versions fall and rise on any thread
        self._live: dict[Key, Version] = {}
        # The one that readers use: replaced, never changed. Version 0 is the newest that answers.
        self.table: Mapping[Key, Version] = {}
        self._closed = False

    async def update(self, name: str, found: Found) -> Outcome:
        """Serves what was found of a model, in place of what is served of it.

        A version that fails leaves all that is served as it was.
        """
        async with self._changing[name]:
            entries = [one for one in found if isinstance(one, Entry)]
            unreadable = [one.reason for one in found if isinstance(one, Unreadable)]
            self._tell_unreadable(name, unreadable)
            news = [entry for entry in entries if self._is_news(entry)]
            errors = [error for error in await self._load_all(news) if error is not None]
            if not (errors or unreadable):
                self._retire_others(name, {entry.version for entry in entries})
            kept = {entry.version for entry in entries} | ({0} if unreadable else set())
            self._forget_others(name, kept)
            problems = (*unreadable, *(_reason(error) for error in errors))
            waits = any(isinstance(error, PartMissingError) for error in errors)
            return Outcome(problems, waits)

    def _tell_unreadable(self, name: str, reasons: Iterable[str]) -> None:
        for reason in reasons:
            self._board.tell(ModelStatus(name, 0, State.FAILED, reason))

    def _is_news(self, entry: Entry) -> bool:
        live = self.table.get((entry.name, entry.version))
        return live is None or not entry.same(live.loaded.entry)

    async def _load_all(self, entries: Sequence[Entry]) -> Sequence[Exception | None]:
        return await asyncio.gather(*(self._load(entry) for entry in entries))

    async def _load(self, entry: Entry) -> Exception | None:
        """Loads and publishes a version, or says why not."""
        self._report(ModelStatus(entry.name, entry.version, State.LOADING))
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(
                self._threads, self._loader.load, entry, self._report
            )
        except Exception as error:
            if not isinstance(error, KokeshiError):
                logger.exception("model %s version %d cannot be loaded", entry.name, entry.version)
            self._tell_failed(entry, _reason(error))
            return error
        if self._closed:
            loaded.runtime.close()
            return UnavailableError("the server shuts down")
        self._publish(loaded)
        return None

    def _report(self, status: ModelStatus) -> None:
        """A version that answers is shown as it is, whatever its replacement is doing."""
        if (status.name, status.version) not in self._live:
            self._board.tell(status)

    def _tell_failed(self, entry: Entry, reason: str) -> None:
        key = entry.name, entry.version
        if live := self.table.get(key):
            told = f"its replacement cannot be served: {reason}"
            self._board.tell(replace(live.status(), reason=told))
            return
        before = self._board.get(*key)
        card = before.card if before else None
        self._board.tell(ModelStatus(*key, State.FAILED, reason, card))

    def _publish(self, loaded: Loaded) -> None:
        """Lets a version answer, and closes the one that it replaces."""
        version = Version(loaded, self._cache, self._fell, self._max_queue_requests)
        version.start()
        key = loaded.entry.name, loaded.entry.version
        with self._lock:
            before = self._live.get(key)
            self._live[key] = version
            self._rebuild()
        self._board.tell(version.status())
        if isinstance(loaded.runtime, Restarting):
            loaded.runtime.watch(partial(self._fell, version), partial(self._rose, version))
        if before is not None:
            self._close(before)

    def _rebuild(self) -> None:
        """Publishes what answers; under the lock."""
        table = {key: version for key, version in sorted(self._live.items()) if version.up}
        newest = {(name, 0): version for (name, _), version in table.items()}
        self.table = {**table, **newest}

    def _fell(self, version: Version, reason: str) -> None:
        """On any thread: what ran a version is gone."""
        if self._set_up(version, up=False):
            self._board.tell(replace(version.status(), state=State.FAILED, reason=reason))

    def _rose(self, version: Version) -> None:
        """On any thread: it runs again."""
        if self._set_up(version, up=True):
            self._board.tell(version.status())

    def _set_up(self, version: Version, *, up: bool) -> bool:
        """Whether that is news of a version that has not been replaced."""
        entry = version.loaded.entry
        with self._lock:
            if self._live.get((entry.name, entry.version)) is not version or version.up == up:
                return False
            version.up = up
            self._rebuild()
            return True

    def _retire(self, name: str, versions: Iterable[int]) -> list["asyncio.Task[None]"]:
        """Takes versions out of service; they are closed by the tasks."""
        with self._lock:
            found = [self._live.pop((name, version), None) for version in versions]
            self._rebuild()
        return [self._close(version) for version in found if version is not None]

    def _close(self, version: Version) -> "asyncio.Task[None]":
        task = asyncio.create_task(version.close(self._drain_timeout_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    def _retire_others(self, name: str, wanted: set[int]) -> None:
        others = [version for model, version in self._live if model == name]
        self._retire(name, [version for version in others if version not in wanted])

    def _forget_others(self, name: str, wanted: set[int]) -> None:
        """Takes down what is neither served nor in the repository any more."""
        for status in self._board.of(name):
            key = name, status.version
            if status.version not in wanted and key not in self._live:
                self._board.forget(*key)

    async def unload(self, name: str) -> None:
        """Stops serving a model; returns when what ran has finished."""
        async with self._changing[name]:
            versions = [status.version for status in self._board.of(name)]
            tasks = self._retire(name, versions)
            self._forget_others(name, set())
            self._board.tell(ModelStatus(name, 0, State.ABSENT, "unloaded"))
            await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Stops serving everything; returns when what ran has finished."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for name in {name for name, _ in self._live}:
            self._retire(name, [version for model, version in self._live if model == name])
        await asyncio.gather(*self._closing)
        for status in self._board.all():
            self._board.forget(status.name, status.version)


def _reason(error: Exception) -> str:
    if isinstance(error, KokeshiError):
        return str(error)
    return "the graph cannot be loaded; the server's log says why"
