"""The engine on Triton servers elsewhere: any server of KServe v2 with Triton's extensions."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi import metrics
from kokeshi.card import Card
from kokeshi.contract import TextInput
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.protocol import ModelStatus, Request, State
from kokeshi.engines.protocol import Watch as Watching
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.engines.triton.asking import load, unload
from kokeshi.engines.triton.counts import counted
from kokeshi.engines.triton.known import Known, Model, changes, together
from kokeshi.engines.triton.peer import Peer
from kokeshi.engines.triton.regions import MAX_SHARED_BYTES
from kokeshi.engines.triton.routing import MAX_IN_FLIGHT, Router
from kokeshi.engines.triton.served import Served
from kokeshi.engines.triton.shared import SHARED_FROM_BYTES, SharedMemory
from kokeshi.engines.triton.target import TlsFiles, is_local
from kokeshi.engines.triton.watch import Watch
from kokeshi.errors import (
    ModelNotFoundError,
    SetupError,
    UnavailableError,
    WrongTaskError,
)

logger = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]

WATCH_S: Final = 0.5
ANSWER_TIMEOUT_S: Final = 0.5
DRAIN_TIMEOUT_S: Final = 30.0
SILENCE_TIMEOUT_S: Final = 10.0
START_TIMEOUT_S: Final = 5.0
DRAIN_STEP_S: Final = 0.02


class TritonEngine:
    """See `Engine`.

    Args:
        addresses: of the servers, host:port or unix:path; each model is asked at the one with the
            fewest requests under way of those that have it.
        tls: files of the connections; None is without TLS.
        headers: metadata that goes with every call, such as an access token.
        allow_untrained: serve models whose weights are random.
        shared_memory: hand tensors over by shared memory; None tries where the address is this
            machine's.
        watch_s: how often each server is asked how it fares.
        answer_timeout_s: within which it has to say so; a server that is late once is red, and
            still asked, as it may be busy; one that is late twice is not asked any more.
        drain_timeout_s: how long `close` and `unload` wait for what is under way.
        silence_timeout_s: how long a model may leave requests unanswered before it is probed.
        max_in_flight: requests under way at once, to all addresses together.
        shared_from_bytes: inputs and outputs of a request, from which on they are shared.
        max_shared_bytes: of shared memory, for each address.
        files: a copy of the model repository, for tokenisers; Triton hands out no files.
        fallen: models that are known not to answer whatever their server says, with the reason;
            `refresh` makes a change seen.
    """

    name = "triton"

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        tls: TlsFiles | None = None,
        headers: Mapping[str, str] | None = None,
        allow_untrained: bool = False,
        shared_memory: bool | None = None,
        watch_s: float = WATCH_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
        silence_timeout_s: float = SILENCE_TIMEOUT_S,
        max_in_flight: int = MAX_IN_FLIGHT,
        shared_from_bytes: int = SHARED_FROM_BYTES,
        max_shared_bytes: int = MAX_SHARED_BYTES,
        files: Path | None = None,
        fallen: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        if not addresses:
            raise SetupError("the Triton engine needs the address of a server")
        self._addresses = tuple(addresses)
        self._tls = tls
        self._headers = dict(headers or {})
        self._allow_untrained = allow_untrained
        self._shared_memory = shared_memory
        self._shared_from_bytes = shared_from_bytes
        self._max_shared_bytes = max_shared_bytes
        self._watch_s = watch_s
        self._answer_timeout_s = answer_timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._files = files
        self._fallen = fallen
        self._known = Known()
        self._peers: tuple[Peer, ...] = ()
        self._watches: tuple[Watch, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: list[asyncio.Task[None]] = []
        self._closing = False
        self._router = Router(self._find, max_in_flight)

    async def start(self) -> None:
        """See `Engine.start`; servers that do not answer yet are waited for while it runs."""
        self._loop = asyncio.get_running_loop()
        self._peers = tuple(self._peer(address) for address in self._addresses)
        self._watches = tuple(Watch(peer, self._answer_timeout_s) for peer in self._peers)
        self._router.open(self._peers)
        for peer in self._peers:
            await peer.shared.start(peer.stub)
        await asyncio.gather(*(watch.look(START_TIMEOUT_S) for watch in self._watches))
        self._publish()
        self._watching = [asyncio.create_task(self._follow(watch)) for watch in self._watches]

    def _peer(self, address: str) -> Peer:
        wanted = is_local(address) if self._shared_memory is None else self._shared_memory
        shared = SharedMemory(
            address,
            enabled=wanted,
            from_bytes=self._shared_from_bytes,
            max_bytes=self._max_shared_bytes,
        )
        return Peer(
            address,
            self._tls,
            self._headers,
            shared,
            silence_timeout_s=self._silence_timeout_s,
            changed=self.refresh,
        )

    async def _follow(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(0 if watch.peer.hesitates else self._watch_s)
            try:
                await watch.look()
                self._publish()
            except Exception:
                logger.exception("watching the Triton server %s failed", watch.peer.address)

    def refresh(self) -> None:
        """Makes a change seen that no server told of; from any thread."""
        if self._loop is not None and not self._closing:
            self._loop.call_soon_threadsafe(self._publish)

    def _publish(self) -> None:
        before = self._known
        fallen = self._fallen()
        self._known = together(self._watches, fallen, allow_untrained=self._allow_untrained)
        for status, gone in changes(before, self._known):
            _tell(status, gone=gone)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._closing = True
        until_s = time.monotonic() + self._drain_timeout_s
        self._router.close()
        while self._router.in_flight and time.monotonic() < until_s:
            await asyncio.sleep(DRAIN_STEP_S)
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(watch.close() for watch in self._watches))
        await asyncio.gather(*(peer.close() for peer in self._peers))

    def providers(self) -> Sequence[str]:
        """See `Engine.providers`."""
        versions = (watch.version for watch in self._watches if watch.version)
        return [f"Triton {version}" for version in dict.fromkeys(versions)]

    def path(self) -> str:
        """See `Engine.path`."""
        works = any(peer.shared.works for peer in self._peers)
        return "shared memory" if works else "grpc"

    def troubles(self) -> Mapping[str, str]:
        """Why servers do not answer, by address; of those that do, nothing."""
        return {peer.address: peer.down for peer in self._peers if peer.down}

    def models(self) -> Sequence[ModelStatus]:
        """See `Engine.models`."""
        return [model.status for model in self._known.models.values()]

    def config(self, model: str, version: int = 0) -> ModelConfig:
        """See `Engine.config`."""
        return self._served(model, version).config

    def pbtxt(self, model: str, version: int = 0) -> str:
        """See `Engine.pbtxt`."""
        return self._served(model, version).pbtxt

    def card(self, model: str, version: int = 0) -> Card:
        """See `Engine.card`."""
        card = self._served(model, version).card
        if card is None:
            raise WrongTaskError(
                f"model {model!r} has no card: it answers tensors (KServe v2) alone"
            )
        return card

    def max_rows(self, model: str, version: int = 0) -> int:
        """See `Engine.max_rows`."""
        return self._served(model, version).checks.max_rows

    def _find(self, model: str, version: int) -> Model:
        return self._known.find(model, version)

    def _served(self, model: str, version: int) -> Served:
        served = self._find(model, version).served
        assert served is not None  # what answers has a configuration
        return served

    def file(self, model: str, name: str) -> bytes:
        """See `Engine.file`."""
        known = Path(name).name
        if self._files is None:
            raise UnavailableError(f"model {model!r} needs {known!r}, and there is no copy of it")
        try:
            data = (self._files / Path(model).name / known).read_bytes()
        except OSError:
            raise UnavailableError(f"model {model!r} has no file {known!r}") from None
        self._check_file(model, name, data)
        return data

    def _check_file(self, model: str, name: str, data: bytes) -> None:
        """A copy may be of another version than what the server runs."""
        card = self._served(model, 0).card
        contract = card.input if card else None
        if not (isinstance(contract, TextInput) and contract.tokenizer == name):
            return
        if contract.tokenizer_sha256 not in {"", sha256(data).hexdigest()}:
            raise UnavailableError(f"model {model!r} was exported with another {name!r}")

    async def infer(self, request: Request) -> Arrays:
        """See `Engine.infer`."""
        return await self._router.infer(request)

    def infer_now(self, request: Request, watch: Watching | None = None) -> Arrays:
        """See `Engine.infer_now`; gRPC's blocking call cannot be left, so `watch` is not called."""
        return self._router.infer_now(request)

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """See `Engine.load`; at every address."""
        try:
            await load(self._peers, model, config, files or {})
        except ModelNotFoundError:
            if self._is_known(model):  # Triton does not tell a bad folder from none
                raise UnavailableError(f"model {model!r} cannot be read by the server") from None
            raise
        finally:
            await self._look()

    async def unload(self, model: str) -> None:
        """See `Engine.unload`; at every address."""
        await self._look()
        if not self._is_known(model):
            raise ModelNotFoundError(f"no model named {model!r}")
        await unload(self._peers, model)
        until_s = time.monotonic() + self._drain_timeout_s
        await self._look()
        while self._loaded(model) and time.monotonic() < until_s:
            await asyncio.sleep(DRAIN_STEP_S)
            await self._look()

    def _is_known(self, model: str) -> bool:
        return any(name == model for name, _ in self._known.models)

    def _loaded(self, model: str) -> bool:
        return any(watch.holds(model) for watch in self._watches)

    async def _look(self, *, again: bool = True) -> None:
        for watch in self._watches if again else ():
            watch.again()
        await asyncio.gather(*(watch.look() for watch in self._watches))
        self._publish()

    async def statistics(self, model: str = "", version: int = 0) -> Sequence[ModelStatistics]:
        """See `Engine.statistics`."""
        await self._look(again=False)
        found = self.counted()
        if model:
            found = [it for it in found if it.name == model and version in {0, it.version}]
            if not found:
                self._known.find(model, version)  # says why
        return found

    def counted(self) -> Sequence[ModelStatistics]:
        """See `Engine.counted`."""
        return counted(self._watches, self._known.models)


def _tell(status: ModelStatus, *, gone: bool) -> None:
    """Logs a change of state, and counts it."""
    ready = status.answers and not gone
    if status.version:
        metrics.MODEL_READY.labels(status.name, status.version).set(ready)
    bad = status.state in {State.FAILED, State.DEGRADED} and not gone
    level = logging.WARNING if bad else logging.INFO
    why = f": {status.reason}" if status.reason else ""
    state = "gone" if gone else status.state
    logger.log(level, "model %s version %d is %s%s", status.name, status.version, state, why)
