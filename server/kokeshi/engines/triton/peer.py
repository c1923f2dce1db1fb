"""One Triton server at one address: sends requests to it, over gRPC or through shared memory."""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc import aio
from numpy.typing import NDArray

from kokeshi.engines.protocol import Request
from kokeshi.engines.triton.channel import open_channels
from kokeshi.engines.triton.faults import Fault, fault_of
from kokeshi.engines.triton.health import Health
from kokeshi.engines.triton.served import Key, Served
from kokeshi.engines.triton.shared import NOTHING, Placed, SharedMemory
from kokeshi.engines.triton.target import TlsFiles
from kokeshi.engines.triton.wire import frame, joined, outputs_of, scheduling, tensor_of
from kokeshi.trace import TRACE

logger = logging.getLogger(__name__)
MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
# Of the mean latency, which says how soon a refused request may come again.
MEAN_WEIGHT: Final = 0.1
Arrays = dict[str, NDArray[Any]]
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How a request is to be sent.

    Attributes:
        rows: of the request.
        timeout_s: what is left of the caller's deadline.
        newest: whether any version may answer that is the newest.
        shared: whether shared memory is tried.
    """

    rows: int
    timeout_s: float | None = None
    newest: bool = False
    shared: bool = True


@dataclass(frozen=True, slots=True)
class Sending:
    """A request as it travels."""

    served: Served
    data: bytes
    placed: Placed
    started_s: float


class Peer:
    """A server, and what is known of it.

    Args:
        address: host:port, or unix:path.
        tls: files of the connection; None is without TLS.
        headers: metadata that goes with every request.
        shared: tensors' way through shared memory; it is closed with the peer.
        silence_timeout_s: see `Health`.
        changed: called, on any thread, when a verdict on a model has changed.
    """

    def __init__(
        self,
        address: str,
        tls: TlsFiles | None,
        headers: Mapping[str, str],
        shared: SharedMemory,
        *,
        silence_timeout_s: float,
        changed: Callable[[], None],
    ) -> None:
        from tritonclient.grpc import service_pb2_grpc

        self.address = address
        self.down = "not asked yet"  # why it does not answer; "" when it does
        self.hesitates = False  # it is down for one late answer: it may be busy, so it is asked
        self.in_flight = 0
        self.latency_s = 0.0  # mean of the newest
        self.answered_s = 0.0
        self.broke_s = 0.0  # when a request last found nobody there
        self.waiting: defaultdict[Key, int] = defaultdict(int)
        self.health: defaultdict[Key, Health] = defaultdict(lambda: Health(silence_timeout_s))
        self.shared = shared
        self._changed = changed
        self._headers = tuple((name.lower(), value) for name, value in headers.items())
        self._lock = threading.Lock()
        self._channel, self._channel_now = open_channels(address, tls)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._ask = self._channel.unary_unary(MODEL_INFER)
        self._ask_now = self._channel_now.unary_unary(MODEL_INFER)

    @property
    def headers(self) -> Headers:
        """Metadata of a call: the configured, and the trace of the request being answered."""
        trace = TRACE.get()
        return (*self._headers, *trace.items()) if trace else self._headers

    async def infer(self, served: Served, request: Request, way: Way) -> Arrays:
        """Sends a request and waits for its answer; a cancelled caller cancels it.

        Raises:
            Fault: there was none.
        """
        sending = self._prepare(served, request, way)
        try:
            call = self._ask(sending.data, timeout=way.timeout_s, metadata=self.headers)
            return self._finish(sending, await call)
        except aio.AioRpcError as error:
            raise self._faulted(sending, error) from None
        except BaseException:  # it was cancelled: nobody knows whether it runs
            self._end(sending, known=False)
            raise

    def infer_now(self, served: Served, request: Request, way: Way) -> Arrays:
        """As `infer`, blocking the calling thread."""
        sending = self._prepare(served, request, way)
        try:
            answer = self._ask_now(sending.data, way.timeout_s, self.headers)
            return self._finish(sending, answer)
        except grpc.RpcError as error:
            raise self._faulted(sending, error) from None
        except BaseException:
            self._end(sending, known=False)
            raise

    def _prepare(self, served: Served, request: Request, way: Way) -> Sending:
        outputs = served.outputs(request, way.rows)
        placed = self.shared.place(request.inputs, outputs) if way.shared else NOTHING
        head = frame(
            served.key[0],
            "" if way.newest else str(served.key[1]),
            served.inputs(request.inputs, placed.inputs),
            tuple((name, placed.outputs.get(name)) for name in outputs),
        )
        parts = [head]
        if request.priority or request.queue_timeout_s:
            timeout_us = round((request.queue_timeout_s or 0) * 1e6)
            parts.append(scheduling(request.priority, timeout_us))
        travelling = [it for name, it in request.inputs.items() if name not in placed.inputs]
        data = joined(parts, travelling)
        self._begin(served.key)
        return Sending(served, data, placed, time.perf_counter())

    def _begin(self, key: Key) -> None:
        with self._lock:
            self.in_flight += 1
            waiting = self.waiting[key]
            self.waiting[key] = waiting + 1
        self.health[key].sent(waiting)

    def _end(self, sending: Sending, *, known: bool) -> None:
        """A request is over; `known`: the server has nothing more to do with its memory."""
        with self._lock:
            self.in_flight -= 1
            self.waiting[sending.served.key] -= 1
        if (region := sending.placed.region) is not None:
            (self.shared.give if known else self.shared.lose)(region)

    def _finish(self, sending: Sending, data: bytes) -> Arrays:
        """The tensors of an answer."""
        region, places = sending.placed.region, sending.placed.outputs
        found = {}
        for name, datatype, shape, raw in outputs_of(data):
            place = places.get(name)
            if region is not None and place is not None:
                raw = region.read(place.offset, place.nbytes)  # noqa: PLW2901 - it lies there
            found[name] = tensor_of(datatype, shape, raw)
        self._end(sending, known=True)
        self.answered_s = time.monotonic()
        self.latency_s += MEAN_WEIGHT * (time.perf_counter() - sending.started_s - self.latency_s)
        if self.health[sending.served.key].answered():
            self._changed()
        return found

    def _faulted(self, sending: Sending, error: Any) -> Fault:  # noqa: ANN401 - grpc is untyped
        fault = fault_of(error)
        if (region := sending.placed.region) is not None and fault.region_gone:
            self.shared.restart(region)
        self._end(sending, known=fault.refused)
        if fault.elsewhere and not fault.queue_full:
            self.broke_s = time.monotonic()
        if self.health[sending.served.key].faulted(fault):
            self._changed()
        return fault

    async def probe(self, served: Served, request: Request) -> None:
        """Asks one version with something that costs little, and judges it by what comes."""
        data = joined(
            [frame(served.key[0], str(served.key[1]), served.inputs(request.inputs, {}), ())],
            [*request.inputs.values()],
        )
        fault = None
        try:
            await self._ask(data, timeout=request.timeout_s, metadata=self._headers)
        except aio.AioRpcError as error:
            fault = fault_of(error)
        if self.health[served.key].probed(fault):
            self._changed()

    def forget(self, present: Iterable[Key]) -> None:
        """Drops what is known of versions that are no more."""
        kept = {*present}
        for key in {*self.health} - kept:
            del self.health[key]
        with self._lock:
            for key in [key for key, count in self.waiting.items() if not count]:
                if key not in kept:
                    del self.waiting[key]

    async def close(self) -> None:
        """Closes the connections; shared memory first, as the server is told."""
        await self.shared.close()
        await self._channel.close()
        await asyncio.to_thread(self._channel_now.close)
