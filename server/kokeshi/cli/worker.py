"""The processes that `kokeshi.cli.workers` starts: `python -m kokeshi.cli.worker FD`.

FD is a socket to the parent. It brings the orders; its end is the end of the parent, and then this
process finishes what it is doing and ends too.
"""

import asyncio
import logging
import os
import queue
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kokeshi.cli.worker_metrics import ENGINE, Page, count_items, page_of, show_whole
from kokeshi.errors import KokeshiError, SetupError
from kokeshi.local_calls import receive, send
from kokeshi.metrics import REGISTRY
from kokeshi.settings import Settings

if TYPE_CHECKING:
    from kokeshi.engines.protocol import Engine
    from kokeshi.index import Store

logger = logging.getLogger(__name__)

Loads = Mapping[str, tuple[str, Mapping[str, bytes] | None] | None]

STORE_SOCKET: Final = "store"
NOTICE_S: Final = 0.5  # between health's "not ready" and the closing of the doors
PUSH_S: Final = 1.0  # between two pages of metrics
GATHER_TIMEOUT_S: Final = 0.5  # for the others' page; after it, the one before is shown
ORPHAN_S: Final = 5.0  # beyond the time to drain, for a process that lost its parent


@dataclass(frozen=True)
class Orders:
    """What a process is to be.

    Args:
        process: ENGINE, or the number of a gateway.
        settings: by name.
        folder: of the sockets.
        engine: its name.
        loads: models that were loaded by request with what came along, or unloaded (None).
    """

    process: str
    settings: Mapping[str, Any]
    folder: Path
    engine: str = ""
    loads: Loads = field(default_factory=dict)


class Parent:
    """The line to the parent.

    Args:
        connection: to it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._gathered: queue.SimpleQueue[Page] = queue.SimpleQueue()
        self._others: Page = {}
        self.is_gone = False
        self.orders: Orders = receive(connection)

    def tell(self, *message: object) -> None:
        """Sends a message; nobody hears it where the parent is gone."""
        with self._sending, suppress(OSError):
            send(self._connection, message)

    def others(self) -> Page:
        """The metrics of all other processes."""
        with suppress(queue.Empty):
            while True:  # an answer that came too late for the one who asked
                self._gathered.get_nowait()
        self.tell("gather")
        with suppress(queue.Empty):
            self._others = self._gathered.get(timeout=GATHER_TIMEOUT_S)
        return self._others

    def follow(self, stop: Callable[[], None]) -> None:
        """Starts to listen: `stop` is called, on a thread, when it is time to end."""
        threading.Thread(target=self._listen, args=(stop,), name="parent", daemon=True).start()

    def _listen(self, stop: Callable[[], None]) -> None:
        try:
            while (message := receive(self._connection)) != ("end",):
                self._gathered.put(message[1])
            stop()
        except (EOFError, OSError):
            self.is_gone = True
            stop()
            drain_timeout_s = float(self.orders.settings["drain_timeout_s"])
            orphaned = threading.Timer(drain_timeout_s + ORPHAN_S, os._exit, (1,))
            orphaned.daemon = True
            orphaned.start()

    def push(self, page: Callable[[], Page]) -> None:
        """Starts to send this process's metrics now and again."""
        ticks = threading.Event()

        def run() -> None:
            while not ticks.wait(PUSH_S):
                self.tell("page", page())

        threading.Thread(target=run, name="metrics", daemon=True).start()


def _leave_to_the_parent(number: int, frame: object) -> None:
    """Whoever signals a whole group signals the parent too, which says when to end.

    A function, because processes that this one starts would go on ignoring what is ignored here.
    """


def _stop_event() -> tuple[asyncio.Event, Callable[[], None]]:
    """An event of the loop that runs, and what sets it from any thread."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed: it has stopped already
            loop.call_soon_threadsafe(stop.set)

    return stop, tell


async def keep_engine(parent: Parent, settings: Settings) -> None:
    """Is the process with the models and the collections."""
    from kokeshi.cli.engines import engine_of
    from kokeshi.cli.stores import store_of
    from kokeshi.engines.process.requests import CONTROL_SOCKET, INFER_SOCKET

    stop, tell = _stop_event()
    for number in (signal.SIGTERM, signal.SIGINT):  # it has to outlive the gateways
        signal.signal(number, _leave_to_the_parent)
    parent.follow(tell)
    for name in (STORE_SOCKET, CONTROL_SOCKET, INFER_SOCKET):  # of one that was killed
        (parent.orders.folder / name).unlink(missing_ok=True)
    engine, store = engine_of(settings), store_of(settings)
    starting = asyncio.create_task(engine.start())
    try:
        await asyncio.sleep(0)  # what cannot start at all fails now
        if starting.done():
            await starting
        parent.push(partial(_page_of_engine, store))
        await _serve_engine(parent, engine, store, starting, stop, settings.drain_timeout_s)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await engine.close()
        store.close()


async def _serve_engine(
    parent: Parent,
    engine: "Engine",
    store: "Store",
    starting: "asyncio.Task[None]",
    stop: asyncio.Event,
    drain_timeout_s: float,
) -> None:
    from kokeshi.engines.process.host import EngineHost
    from kokeshi.index.remote import serve_store

    folder, loop = parent.orders.folder, asyncio.get_running_loop()
    stores = serve_store(store, folder / STORE_SOCKET)
    host = EngineHost(engine, folder, partial(parent.tell, "loaded"))
    parent.tell("open", engine.name)
    stopping = asyncio.create_task(stop.wait())
    loading = asyncio.create_task(_load(starting, engine, parent.orders.loads))
    try:
        await asyncio.wait((stopping, loading), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading
        await stopping
        end_s = loop.time() + drain_timeout_s
        while host.connections and loop.time() < end_s:
            await asyncio.sleep(0.05)  # a gateway that lost its parent too may still be answering
    finally:
        loading.cancel()
        stopping.cancel()
        await asyncio.to_thread(host.close)
        await asyncio.to_thread(stores.close)


def _page_of_engine(store: "Store") -> Page:
    with suppress(KokeshiError):  # it may be closed
        count_items({info.spec.name: info.count for info in store.collections()})
    return page_of(REGISTRY.collect(), ENGINE)


async def _load(starting: "asyncio.Task[None]", engine: "Engine", loads: Loads) -> None:
    """Waits for the start, and loads again what was loaded by request before a restart."""
    await starting
    for model, load in loads.items():
        try:
            await (engine.unload(model) if load is None else engine.load(model, *load))
        except KokeshiError as error:
            logger.error("model %s is not as it was before the restart: %s", model, error)


async def be_gateway(parent: Parent, settings: Settings) -> None:
    """Is a process with both doors."""
    from kokeshi.cli.serve import door_options, service_with
    from kokeshi.engines.process.attached import AttachedEngine
    from kokeshi.gateway.serve import doors
    from kokeshi.index.remote import RemoteStore

    orders = parent.orders
    stop, tell = _stop_event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, _leave_to_the_parent)
    parent.follow(tell)
    engine = AttachedEngine(orders.folder, name=orders.engine)
    service = service_with(engine, RemoteStore(orders.folder / STORE_SOCKET), settings)
    try:
        await service.start()
        parent.push(show_whole(orders.process, parent.others))
        async with doors(
            service,
            http=settings.http,
            grpc=settings.grpc,
            drain_timeout_s=settings.drain_timeout_s,
            notice_s=NOTICE_S,
            options=door_options(settings, reuse_port=True),
        ):
            parent.tell("open", orders.engine)
            await stop.wait()
    finally:
        await service.close()


def _name_in_logs(process: str) -> None:
    """Has each line of the log say which process wrote it."""

    def name(record: logging.LogRecord) -> bool:
        record.fields = {"worker": process, **record.__dict__.get("fields", {})}
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(name)


def main(fd: int) -> None:
    """Is what the parent orders, until it says or dies."""
    from kokeshi.gateway import logs

    parent = Parent(socket.socket(fileno=fd))
    orders = parent.orders
    settings = Settings(**orders.settings)
    logs.configure(settings.log_format, settings.log_level)
    _name_in_logs(orders.process)
    try:
        if orders.process == ENGINE:
            asyncio.run(keep_engine(parent, settings))
            if parent.is_gone:  # it would have removed them
                shutil.rmtree(orders.folder, ignore_errors=True)
        else:
            from kokeshi.gateway.serve import run

            run(be_gateway(parent, settings))
    except SetupError as error:
        parent.tell("failed", str(error))
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
