"""Serves an engine to the gateways of other processes, over sockets in a folder of their own."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kokeshi.engines.process.channel import Reply, serve
from kokeshi.engines.process.ledger import Ledger
from kokeshi.engines.process.requests import (
    CONTROL_SOCKET,
    INFER,
    INFER_SOCKET,
    Key,
    unpack,
)
from kokeshi.engines.protocol import Engine, Tensors, Watch
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.local_calls import Listener, answer_calls
from kokeshi.trace import TRACE

T = TypeVar("T")


class EngineHost:
    """An engine and its two sockets: tensors over shared memory, and everything else.

    Args:
        engine: started and closed by whoever made it, on the event loop that runs now.
        folder: nobody else may enter it.
        loaded: told each model that was loaded, with its configuration and files, or unloaded
            (None), by request.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        loaded: Callable[[str, tuple[str, Mapping[str, bytes] | None] | None], None],
    ) -> None:
        self._engine = engine
        self._loaded = loaded
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger(engine)
        self._leaving: dict[Key, Callable[[], None]] = {}
        self._infer = Listener(folder / INFER_SOCKET, self._serve, socket.SOCK_SEQPACKET)
        handlers: dict[str, Callable[..., Any]] = {
            "since": self._ledger.since,
            "load": self._load,
            "unload": self._unload,
            "statistics": self._statistics,
            "file": engine.file,
            "leave": self._leave,
        }
        self._control = Listener(folder / CONTROL_SOCKET, answer_calls(handlers))

    @property
    def connections(self) -> int:
        """How many gateways' connections are open."""
        return self._infer.connections + self._control.connections

    def close(self) -> None:
        """Ends all connections; blocks until nobody waits for a change."""
        self._ledger.close()
        self._control.close()
        self._infer.close()

    def _serve(self, connection: socket.socket) -> None:
        waiting = _Waiting(self._leaving)
        try:
            serve(
                connection, lambda kind, meta, tensors: self._answer(waiting, kind, meta, tensors)
            )
        finally:
            waiting.forget()

    def _answer(self, waiting: "_Waiting", kind: int, meta: bytes, tensors: Tensors) -> Reply:
        if kind != INFER:
            raise ValueError(f"a question of unknown kind {kind}")
        request, trace, key = unpack(meta, tensors)
        token = TRACE.set(trace)
        try:
            if not key[1]:
                return b"", self._engine.infer_now(request)
            return b"", self._engine.infer_now(request, waiting.watch(key))
        finally:
            TRACE.reset(token)
            waiting.forget()

    def _leave(self, key: Key) -> None:
        leave = self._leaving.get(key)
        if leave is not None:
            leave()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _load(self, model: str, config: str, files: Mapping[str, bytes] | None) -> None:
        self._run(self._engine.load(model, config, files))
        self._loaded(model, (config, files))
        self._ledger.refresh()

    def _unload(self, model: str) -> None:
        self._run(self._engine.unload(model))
        self._loaded(model, None)
        self._ledger.refresh()

    def _statistics(self, model: str, version: int) -> Sequence[ModelStatistics]:
        return self._run(self._engine.statistics(model, version))


class _Waiting:
    """The request of one connection, for as long as its caller can give it up.

    Args:
        leaving: of all connections.
    """

    def __init__(self, leaving: dict[Key, Callable[[], None]]) -> None:
        self._leaving = leaving
        self._key: Key | None = None

    def watch(self, key: Key) -> Watch:
        """What the engine gets as `watch`."""
        self._key = key

        def waits(leave: Callable[[], None]) -> None:
            self._leaving[key] = leave

        return waits

    def forget(self) -> None:
        """It is over."""
        if self._key is not None:
            self._leaving.pop(self._key, None)
            self._key = None
