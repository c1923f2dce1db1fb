"""Asks one Triton server what it serves, and how it fares."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grpc import aio

from kokeshi.engines.protocol import Request, State
from kokeshi.engines.triton.faults import Fault, fault_of, silence, without_paths
from kokeshi.engines.triton.peer import Peer
from kokeshi.engines.triton.served import Key, Served, read_served
from kokeshi.engines.triton.wire import blank_row
from kokeshi.errors import ArtefactError

logger = logging.getLogger(__name__)
CONFIG_EVERY_S: Final = 5.0  # a model may be loaded again with another configuration
PROBE_TIMEOUT_S: Final = 5.0
_STATES: Final = {
    "READY": State.READY,
    "LOADING": State.LOADING,
    "UNAVAILABLE": State.FAILED,
    "UNLOADING": State.ABSENT,
}
_UNLOADED: Final = "unloaded"  # the reason that Triton gives
_NOT_ASKED_FOR: Final = "not asked for"


@dataclass(frozen=True)
class Seen:
    """One version of one model at one address."""

    state: State
    reason: str = ""
    served: Served | None = None


class Watch:
    """Looks after one server.

    Args:
        peer: the server.
        timeout_s: within which it must answer, unless it answers requests meanwhile.
    """

    def __init__(self, peer: Peer, timeout_s: float) -> None:
        self.peer = peer
        self.seen: dict[Key, Seen] = {}
        self.statistics: dict[Key, Any] = {}  # Triton's messages
        self.version = ""  # of the server
        self.leaving: set[str] = set()  # models that are being unloaded
        self._timeout_s = self._allowed_s = timeout_s
        self._configs: dict[Key, tuple[Any, Seen]] = {}  # message and what was made of it
        self._read_s = 0.0
        self._looking = asyncio.Lock()  # two looks at once would undo one another
        self._probes: dict[Key, asyncio.Task[None]] = {}

    async def look(self, timeout_s: float | None = None) -> None:
        """Brings `seen` and `statistics` up to date; a server that is gone leaves them as known."""
        async with self._looking:
            self._allowed_s = timeout_s or self._timeout_s
            try:
                index, statistics = await asyncio.gather(self._index(), self._statistics())
                ready = [key for key, seen in index.items() if seen.state is State.READY]
                self.seen = index | await self._read(ready)
            except Fault as fault:
                self._silent(fault)
                return
            self._alive(statistics)
        await self.peer.shared.sweep()

    def again(self) -> None:
        """Has every configuration read again by the next look."""
        self._read_s = 0.0

    def holds(self, model: str) -> bool:
        """Whether a version of a model is loaded, or on its way in or out."""
        states = {seen.state for (name, _), seen in self.seen.items() if name == model}
        return not states <= {State.ABSENT, State.FAILED} or model in self.leaving

    def _silent(self, fault: Fault) -> None:
        late = fault.code == "DEADLINE_EXCEEDED"
        if late and time.monotonic() - self.peer.answered_s < self._timeout_s:
            return  # it is busy
        if not self.peer.down:
            logger.warning("the Triton server %s does not answer: %s", self.peer.address, fault)
        self.peer.hesitates = late and not self.peer.down
        self.peer.down = silence(fault)
        self.again()  # who comes back may be another

    def _alive(self, statistics: dict[Key, Any]) -> None:
        if self.peer.down:
            logger.info("the Triton server %s answers", self.peer.address)
        self.peer.down, self.peer.hesitates = "", False
        self.statistics = statistics
        self.peer.forget(self.seen)
        for key, seen in self.seen.items():
            if seen.served is None:
                continue
            message = statistics.get(key)
            executions = message.execution_count if message is not None else 0
            health = self.peer.health[key]
            health.executed(executions, self.peer.waiting[key])
            if health.doubted:
                self._probe(seen.served)

    async def _index(self) -> dict[Key, Seen]:
        from tritonclient.grpc import service_pb2

        if not self.version:
            wanted = service_pb2.ServerMetadataRequest()
            metadata = await self._ask(self.peer.stub.ServerMetadata, wanted)
            self.version = metadata.version
        request = service_pb2.RepositoryIndexRequest()
        index = await self._ask(self.peer.stub.RepositoryIndex, request)
        self.leaving = {it.name for it in index.models if it.state == "UNLOADING"}
        return {(it.name, int(it.version or 0)): _seen(it) for it in index.models}

    async def _statistics(self) -> dict[Key, Any]:
        from tritonclient.grpc import service_pb2

        request = service_pb2.ModelStatisticsRequest()
        answer = await self._ask(self.peer.stub.ModelStatistics, request)
        return {(it.name, int(it.version)): it for it in answer.model_stats}

    async def _read(self, ready: Sequence[Key]) -> dict[Key, Seen]:
        """Configuration and readiness of the versions that the index calls ready."""
        now_s = time.monotonic()
        stale = now_s - self._read_s > CONFIG_EVERY_S
        if stale:  # before it is done, so that `again` meanwhile is not undone
            self._read_s = now_s
        seen = await asyncio.gather(*(self._read_one(key, stale) for key in ready))
        self._configs = {key: self._configs[key] for key in ready if key in self._configs}
        return dict(zip(ready, seen, strict=True))

    async def _read_one(self, key: Key, stale: bool) -> Seen:
        from tritonclient.grpc import service_pb2

        name, version = key
        request = service_pb2.ModelReadyRequest(name=name, version=str(version))
        ready = self._ask(self.peer.stub.ModelReady, request)
        try:
            if stale or key not in self._configs:
                answer, _ = await asyncio.gather(ready, self._read_config(key))
            else:
                answer = await ready
        except Fault as fault:
            if fault.code != "NOT_FOUND":
                raise
            return Seen(State.ABSENT, _UNLOADED)  # since the index was made
        if not answer.ready:
            return Seen(State.FAILED, "the Triton server says that it is not ready")
        return self._configs[key][1]

    async def _read_config(self, key: Key) -> None:
        from tritonclient.grpc import service_pb2

        request = service_pb2.ModelConfigRequest(name=key[0], version=str(key[1]))
        answer = await self._ask(self.peer.stub.ModelConfig, request)
        message = answer.config
        if key in self._configs and self._configs[key][0] == message:
            return
        try:
            seen = Seen(State.READY, served=read_served(*key, message))
        except ArtefactError as error:
            seen = Seen(State.FAILED, str(error))
        self._configs[key] = message, seen

    async def _ask(self, call: Any, request: Any) -> Any:  # noqa: ANN401 - grpc is untyped
        try:
            return await call(request, timeout=self._allowed_s, metadata=self.peer.headers)
        except aio.AioRpcError as error:
            raise fault_of(error) from None

    def _probe(self, served: Served) -> None:
        running = self._probes.get(served.key)
        if running is None or running.done():
            request = Request(served.key[0], blank_row(served.config), timeout_s=PROBE_TIMEOUT_S)
            self._probes[served.key] = asyncio.create_task(self.peer.probe(served, request))

    async def close(self) -> None:
        """Stops what it does beside looking."""
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)


def _seen(entry: Any) -> Seen:  # noqa: ANN401 - tritonclient is untyped
    """What the index says of a version, in our words."""
    state = _STATES.get(entry.state, State.ABSENT)
    if state is State.FAILED and entry.reason in {"", _UNLOADED}:
        return Seen(State.ABSENT, _UNLOADED)
    if state is State.READY:
        return Seen(state)
    return Seen(state, without_paths(entry.reason) or entry.state.lower() or _NOT_ASKED_FOR)
