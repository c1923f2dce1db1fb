"""Opens both doors on one event loop, and closes them without losing a request."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import uvicorn

from kokeshi.errors import SetupError
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.grpc.server import MAX_CALLS, THREADS
from kokeshi.gateway.grpc.streams import MAX_STREAMS
from kokeshi.gateway.grpc.wire import Server
from kokeshi.gateway.http import make_app
from kokeshi.gateway.kserve import regions_of
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import Service

T = TypeVar("T")

DRAIN_TIMEOUT_S: Final = 30.0
NOTICE_S: Final = 0.5
# Longer than clients and proxies keep an idle connection (60 s is usual): when the server closes it
# first, a request that was just sent on it is lost.
KEEP_ALIVE_S: Final = 75
MAX_PORT: Final = 65_535
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Addresses:
    """Where the doors are, as host:port."""

    http: str
    grpc: str

    def __str__(self) -> str:
        return f"http://{self.http}  grpc://{self.grpc}"


@dataclass(frozen=True)
class DoorOptions:
    """How the doors treat connections and calls.

    Args:
        keep_alive_s: how long an idle HTTP connection is kept.
        threads: of gRPC at most, for methods that block; one is kept for everything else.
        max_calls: of gRPC under way at once, but for probes; what comes beyond is refused.
        max_streams: of KServe over gRPC at once; each holds a thread, and more for what runs.
        client_shared_memory: whether KServe's clients may register regions of shared memory.
        reuse_port: whether other processes may listen on the same ports, for gateway workers.
    """

    keep_alive_s: int = KEEP_ALIVE_S
    threads: int = THREADS
    max_calls: int = MAX_CALLS
    max_streams: int = MAX_STREAMS
    client_shared_memory: bool = True
    reuse_port: bool = False


DEFAULTS: Final = DoorOptions()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop's event loop, or the standard library's where there is none."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        from asyncio import new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def announce(addresses: Addresses) -> None:
    """Writes the addresses to standard output."""
    sys.stdout.write(f"listening on {addresses}\n")
    sys.stdout.flush()


async def serve(
    service: Service,
    *,
    http: str,
    grpc: str,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    notice_s: float = NOTICE_S,
    options: DoorOptions = DEFAULTS,
    on_open: Callable[[Addresses], None] = announce,
) -> Addresses:
    """Answers requests until SIGTERM or SIGINT; a second signal ends the process at once.

    The doors open at once: health says whether the models are ready. The caller starts the service
    and closes it afterwards.

    Args:
        service: what answers.
        http: host:port; port 0 takes a free one.
        grpc: host:port; port 0 takes a free one.
        drain_timeout_s: how long requests in flight may take after the signal.
        notice_s: between health's "not ready" and the closing of the doors.
        options: of both doors.
        on_open: told the addresses when both doors are open.

    Returns:
        Where the doors were.

    Raises:
        SetupError: an address cannot be listened on.
    """
    stop = asyncio.Event()
    with _signals(stop.set):
        async with doors(
            service,
            http=http,
            grpc=grpc,
            drain_timeout_s=drain_timeout_s,
            notice_s=notice_s,
            options=options,
        ) as addresses:
            on_open(addresses)
            await stop.wait()
    return addresses


@contextmanager
def _signals(act: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def first() -> None:
        restore()  # so that a second signal does what it does by default
        act()

    def restore() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        restore()


@asynccontextmanager
async def doors(
    service: Service,
    *,
    http: str,
    grpc: str,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    notice_s: float = 0.0,
    options: DoorOptions = DEFAULTS,
) -> AsyncIterator[Addresses]:
    """Both doors, open inside the context. See `serve`.

    Raises:
        SetupError: an address cannot be listened on.
    """
    readiness = Readiness(service)
    regions_of(service).allowed = options.client_shared_memory
    with _listening(http, reuse_port=options.reuse_port) as http_socket:
        grpc_server = _grpc_server(service, readiness, options)
        grpc_port = _add_port(grpc_server, grpc)
        http_server = _http_server(service, readiness, drain_timeout_s, options.keep_alive_s)
        http_port = http_socket.getsockname()[1]
        http_task = asyncio.create_task(http_server.serve(sockets=[http_socket]))
        try:
            await grpc_server.start()
            await _opened(http_server, http_task)
            yield Addresses(f"{_host(http)}:{http_port}", f"{_host(grpc)}:{grpc_port}")
        finally:
            readiness.drain()
            await asyncio.sleep(notice_s)
            readiness.close()
            http_server.should_exit = True
            closing = (http_task, asyncio.create_task(grpc_server.stop(drain_timeout_s)))
            await asyncio.wait(closing)
            for task in closing:
                task.result()


async def _opened(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    """Returns when the server listens; raises what ended it before that."""
    while not server.started:
        if task.done():
            task.result()
            return
        await asyncio.sleep(0.001)


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to `serve`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _grpc_server(service: Service, readiness: Readiness, options: DoorOptions) -> Server:
    return make_grpc_server(
        service,
        readiness,
        threads=options.threads,
        max_calls=options.max_calls,
        max_streams=options.max_streams,
        reuse_port=options.reuse_port,
    )


def _http_server(
    service: Service, readiness: Readiness, drain_timeout_s: float, keep_alive_s: int
) -> _Uvicorn:
    config = uvicorn.Config(
        make_app(service, readiness),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,  # gateway.logs writes the line of a request
        server_header=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
    )
    return _Uvicorn(config)


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _port(address: str) -> int:
    """The port of host:port.

    Raises:
        SetupError: that is not what the address is.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > MAX_PORT:
        raise SetupError(f"an address is host:port, not {address!r}")
    return int(port)


def _listening(address: str, *, reuse_port: bool) -> socket.socket:
    """A bound socket for the HTTP door.

    Raises:
        SetupError: the address is no host:port, or cannot be bound.
    """
    port, host = _port(address), _host(address).strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, reuse_port=reuse_port)
    except OSError as error:
        raise SetupError(f"cannot listen on http address {address}: {error.strerror}") from error
    # Connections inherit it. An answer is two writes, and without it the second waits 40 ms for the
    # client's delayed acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _add_port(server: Server, address: str) -> int:
    """Binds the gRPC door.

    Raises:
        SetupError: the address is no host:port, or cannot be bound.
    """
    _port(address)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:  # it does not say why
        raise SetupError(
            f"cannot listen on grpc address {address}: the port is taken or the host is not here"
        ) from error
