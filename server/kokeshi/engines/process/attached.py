"""The engine of another process of this server, as a gateway sees it."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.process.ledger import Mirror, Notice
from kokeshi.engines.process.pool import GONE, Pool
from kokeshi.engines.process.requests import CONTROL_SOCKET, INFER, INFER_SOCKET, Key, pack
from kokeshi.engines.protocol import ModelStatus, Request, Watch
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.errors import DeadlineError, OverloadedError, UnavailableError
from kokeshi.local_calls import Caller
from kokeshi.trace import TRACE

logger = logging.getLogger(__name__)

THREADS: Final = 64  # requests of coroutines that are with the engine at once
MAX_WAITING: Final = 1024  # further ones that wait for a thread; more are refused
NEWS_S: Final = 1.0  # between two notices where nothing changes: statistics are as old as that
RETRY_S: Final = 0.05  # between two tries to find an engine that is gone
IN_PROCESS: Final = "in process"
SHARED_MEMORY: Final = "shared memory"

Outputs = dict[str, NDArray[Any]]


class AttachedEngine:
    """See `Engine`. What stands behind it is not started or closed with it.

    Args:
        folder: of an `EngineHost`.
        name: of its engine.
        threads: requests of coroutines that are with the engine at once.
        max_waiting: further ones that wait for that.
    """

    def __init__(
        self, folder: Path, *, name: str, threads: int = THREADS, max_waiting: int = MAX_WAITING
    ) -> None:
        self.name = name
        self._mirror = Mirror()
        self._pool = Pool(folder / INFER_SOCKET)
        self._call = Caller(folder / CONTROL_SOCKET, "the engine's process")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="attached")
        self._aside = ThreadPoolExecutor(4, thread_name_prefix="control")  # a load takes minutes
        self._quick = ThreadPoolExecutor(2, thread_name_prefix="quick")
        self._most = threads + max_waiting
        self._under_way = 0  # of coroutines; on the event loop alone
        self._gateway = secrets.randbits(63)
        self._numbers = count(1)
        self._closing = threading.Event()
        self._attached = threading.Event()
        self._following = threading.Thread(target=self._follow, name="mirror", daemon=True)

    async def start(self) -> None:
        """Returns when the engine's process is there; its models may still be loading."""
        self._following.start()
        while not self._attached.is_set():
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._closing.set()
        await asyncio.to_thread(self._threads.shutdown)
        for executor in (self._aside, self._quick):
            await asyncio.to_thread(executor.shutdown)
        if self._following.ident is not None:
            await asyncio.to_thread(self._following.join)
        self._pool.clear()
        self._call.close()

    def providers(self) -> Sequence[str]:
        """See `Engine.providers`."""
        return self._mirror.providers

    def path(self) -> str:
        """See `Engine.path`: where the engine has the graphs in its own process, that to it."""
        path = self._mirror.path
        return SHARED_MEMORY if path in {"", IN_PROCESS} else path

    def models(self) -> Sequence[ModelStatus]:
        """See `Engine.models`."""
        return self._mirror.models()

    def config(self, model: str, version: int = 0) -> ModelConfig:
        """See `Engine.config`."""
        return self._mirror.detail(model, version).config

    def pbtxt(self, model: str, version: int = 0) -> str:
        """See `Engine.pbtxt`."""
        return self._mirror.detail(model, version).pbtxt

    def card(self, model: str, version: int = 0) -> Card:
        """See `Engine.card`."""
        return self._mirror.card(model, version)

    def max_rows(self, model: str, version: int = 0) -> int:
        """See `Engine.max_rows`."""
        return self._mirror.detail(model, version).max_rows

    def file(self, model: str, name: str) -> bytes:
        """See `Engine.file`."""
        return self._call("file", model, name)

    async def infer(self, request: Request) -> Outputs:
        """See `Engine.infer`."""
        if self._under_way >= self._most:
            raise OverloadedError(f"{self._most} requests are under way, and no more may be")
        key = self._gateway, next(self._numbers)
        until_s = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        work = (request, until_s, key, TRACE.get())
        self._under_way += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._infer, *work)
        except asyncio.CancelledError:
            self._give_up(key)
            raise
        finally:
            self._under_way -= 1

    def _infer(
        self, request: Request, until_s: float | None, key: Key, trace: Mapping[str, str]
    ) -> Outputs:
        if until_s is not None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise DeadlineError(f"model {request.model!r} did not answer in time")
            request = replace(request, timeout_s=left_s)
        return self._ask(request, key, trace)

    def infer_now(self, request: Request, watch: Watch | None = None) -> Outputs:
        """See `Engine.infer_now`."""
        if watch is None:
            return self._ask(request, (self._gateway, 0), TRACE.get())
        key = self._gateway, next(self._numbers)
        watch(lambda: self._give_up(key))
        return self._ask(request, key, TRACE.get())

    def _ask(self, request: Request, key: Key, trace: Mapping[str, str]) -> Outputs:
        _, outputs = self._pool.ask(INFER, pack(request, trace, key), request.inputs)
        return dict(outputs)

    def _give_up(self, key: Key) -> None:
        """Has a request leave the queue, if it is still there; does not wait."""
        with suppress(RuntimeError):  # it is being closed
            self._quick.submit(self._call, "leave", key)

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """See `Engine.load`."""
        await self._aside_call("load", model, config, files)
        await self._refresh()

    async def unload(self, model: str) -> None:
        """See `Engine.unload`."""
        await self._aside_call("unload", model)
        await self._refresh()

    async def statistics(self, model: str = "", version: int = 0) -> Sequence[ModelStatistics]:
        """See `Engine.statistics`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._quick, self._call, "statistics", model, version)

    def counted(self) -> Sequence[ModelStatistics]:
        """See `Engine.counted`; no older than `NEWS_S`."""
        return self._mirror.counted

    async def _aside_call(self, name: str, *args: Any) -> Any:  # noqa: ANN401 - whatever the other end returns
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside, self._call, name, *args)

    async def _refresh(self) -> None:
        mirror = self._mirror
        mirror.apply(await self._aside_call("since", mirror.epoch, mirror.generation, 0.0))

    def _follow(self) -> None:
        """Keeps the mirror, until the engine is closed."""
        mirror = self._mirror
        wait_s = 0.0  # what is new at the start, at once
        while not self._closing.is_set():
            try:
                notice: Notice = self._call("since", mirror.epoch, mirror.generation, wait_s)
            except UnavailableError:
                self._lose()
                self._closing.wait(RETRY_S)
                wait_s = 0.0
            except Exception:  # this gateway would never hear of the models again
                logger.exception("the engine's news cannot be read")
                self._closing.wait(NEWS_S)
                wait_s = 0.0
            else:
                mirror.apply(notice)
                self._attached.set()
                self._pool.trim()
                wait_s = NEWS_S

    def _lose(self) -> None:
        if self._attached.is_set():
            if not self._mirror.lost:
                logger.error(GONE)
            self._mirror.lose(GONE)
            self._pool.clear()
