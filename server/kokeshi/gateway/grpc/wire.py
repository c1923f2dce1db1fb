"""A gRPC server for methods that block and methods that are coroutines, side by side.

It stands on `grpc._cython.cygrpc`, as grpcio's own two servers do, because neither serves here.
`grpc.aio` runs everything on one event loop, which a graph would block. `grpc.server` hands every
call from thread to thread four times, which costs twice what all the rest does, and holds a thread
for as long as a coroutine takes. Here the thread that took a request off the wire runs its method,
whichever thread has the answer sends it, and a call that waits for the event loop holds no thread.

The wheel of grpcio decides whether these names exist: tests/gateway/test_grpc_wire.py uses each.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from grpc import GenericRpcHandler, RpcMethodHandler
from grpc._cython import cygrpc

from kokeshi.gateway.grpc.pollers import Pollers, Work
from kokeshi.gateway.grpc.rpc import Metadata, Rpc

logger: Final = logging.getLogger(__name__)

Start = Callable[[Rpc], None]

# Calls that gRPC may have ready for us before it has to wait for a thread.
ASKED_CALLS: Final = 16
# After the grace of `stop` all calls are cancelled; a method that still runs then is left behind.
LEAVE_S: Final = 5.0


class Door(Protocol):
    """What stands between the wire and the methods."""

    def starting(self, path: str, handler: RpcMethodHandler, server: "Server") -> Start:
        """How a call of a method starts; it must not wait."""

    def unknown(self, rpc: Rpc) -> None:
        """Finishes a call of a method that nobody registered."""


class _Details(NamedTuple):
    method: str
    invocation_metadata: Metadata = ()


class Server:
    """A server; the caller registers servicers, adds a port, starts it on an event loop.

    Args:
        door: starts the calls.
        threads: at most, for methods that block; one of them is kept for everything else.
        options: arguments of gRPC's core.
    """

    def __init__(self, door: Door, *, threads: int, options: Sequence[tuple[str, int]]) -> None:
        self._door = door
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(options, False)
        self._server.register_completion_queue(self._queue)
        self._pollers = Pollers(self._queue, max(2, threads))
        self._handlers: list[GenericRpcHandler] = []
        self._starts: dict[str, Start] = {}
        self._lock = threading.Lock()
        self._live: set[Rpc] = set()
        self._asked = 0
        self._stopping = self._shut_down = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that started the server."""
        assert self._loop is not None  # calls arrive after the start
        return self._loop

    @property
    def calls(self) -> int:
        """How many are under way."""
        return len(self._live)

    def run(self, work: Work) -> None:
        """See `Pollers.run`."""
        self._pollers.run(work)

    def run_soon(self, work: Work) -> None:
        """See `Pollers.run_soon`."""
        self._pollers.run_soon(work)

    def add_generic_rpc_handlers(self, handlers: Sequence[GenericRpcHandler]) -> None:
        """See `grpc.Server`; called by generated code."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """See `grpc.Server`: generated code offers again what is there as generic handlers."""

    def add_insecure_port(self, address: str) -> int:
        """See `grpc.Server`.

        Raises:
            RuntimeError: it cannot be bound.
        """
        port: int = self._server.add_http2_port(address.encode())
        if port == 0:
            raise RuntimeError(f"cannot bind {address}")
        return port

    async def start(self) -> None:
        """Answers from now on; coroutines run on the loop that calls this."""
        self._loop = asyncio.get_running_loop()
        self._server.start()
        with self._lock:
            for _ in range(ASKED_CALLS):
                self._ask()
        self._pollers.start()

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, waits for those that run, and cancels what runs after that."""
        if self._loop is None or self._stopping:
            return
        with self._lock:
            self._stopping = True
            self._server.shutdown(self._queue, self._on_shutdown)
        if not await self._ended(grace_s):
            self._server.cancel_all_calls()
            if not await self._ended(LEAVE_S):
                logger.warning("%d calls of gRPC do not end", len(self._live))
                return
        self._pollers.join()

    async def _ended(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _ask(self) -> None:
        self._server.request_call(self._queue, self._queue, self._on_call)
        self._asked += 1

    def _on_call(self, event: Any) -> None:  # noqa: ANN401 - grpc is untyped
        rpc = Rpc(event, self) if event.success else None
        with self._lock:
            self._asked -= 1
            if rpc is not None:
                self._live.add(rpc)
            if not self._stopping:
                self._ask()
        if rpc is None:
            self._end_if_over()
            return
        rpc.open()
        self._begin(rpc)

    def _begin(self, rpc: Rpc) -> None:
        start = self._starts.get(rpc.method) or self._found(rpc.method)
        if start is None:
            self._door.unknown(rpc)
        else:
            start(rpc)

    def _found(self, path: str) -> Start | None:
        for each in self._handlers:
            handler = each.service(_Details(path))
            if handler is not None:
                self._starts[path] = self._door.starting(path, handler, self)
                return self._starts[path]
        return None

    def left(self, rpc: Rpc) -> None:
        """See `rpc.Host`."""
        self._live.discard(rpc)
        if self._stopping:
            self._end_if_over()

    def _on_shutdown(self, event: Any) -> None:  # noqa: ANN401 - grpc is untyped
        self._shut_down = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        """Destroys the server once nobody can start anything on its queue any more."""
        with self._lock:
            if self._asked or self._live or not self._shut_down:
                return
            self._shut_down = False  # so that the last two to come do not both destroy it
        self._server.destroy()
        self._queue.shutdown()
        self.loop.call_soon_threadsafe(self._stopped.set)
