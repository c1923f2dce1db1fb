"""Which address a request goes to, and what becomes of one that failed there."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Any, Final

from numpy.typing import NDArray
from prometheus_client import Histogram

from kokeshi import metrics
from kokeshi.engines.protocol import Request
from kokeshi.engines.triton.faults import Fault, error_of
from kokeshi.engines.triton.known import Model
from kokeshi.engines.triton.peer import Peer, Way
from kokeshi.engines.triton.served import Served
from kokeshi.errors import DeadlineError, InferenceError, OverloadedError, UnavailableError

logger = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]
Find = Callable[[str, int], Model]

MAX_IN_FLIGHT: Final = 1024
# A server that did not answer is asked last for so long; then the watch has found out, or it works.
AVOIDED_S: Final = 1.0
MIN_RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 10.0


class Router:
    """Sends requests to the servers; a request that never ran is tried once more elsewhere.

    Args:
        find: gives a version that answers; see `Known.find`.
        max_in_flight: requests under way at once; more are refused.
    """

    def __init__(self, find: Find, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._find = find
        self._max_in_flight = max_in_flight
        self._peers: Sequence[Peer] = ()
        self._turn = count()
        self._closed = False

    def open(self, peers: Sequence[Peer]) -> None:
        """Takes the servers in use."""
        self._peers = peers

    def close(self) -> None:
        """Refuses whatever comes from now on."""
        self._closed = True

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(peer.in_flight for peer in self._peers)

    async def infer(self, request: Request) -> Arrays:
        """See `Engine.infer`."""
        asked = self._admit(request)
        try:
            while True:
                try:
                    return await asked.peer.infer(asked.served, request, asked.way)
                except Fault as fault:
                    asked.again(fault)
        finally:
            asked.measure()

    def infer_now(self, request: Request) -> Arrays:
        """See `Engine.infer_now`."""
        asked = self._admit(request)
        try:
            while True:
                try:
                    return asked.peer.infer_now(asked.served, request, asked.way)
                except Fault as fault:
                    asked.again(fault)
        finally:
            asked.measure()

    def _admit(self, request: Request) -> "_Asked":
        if self._closed:
            raise UnavailableError("the server is stopping")
        model = self._find(request.model, request.version)
        served = model.served
        assert served is not None  # what answers has a configuration
        rows = served.checks.rows(request.inputs)
        served.checks.outputs(request.outputs)
        if self.in_flight >= self._max_in_flight:
            metrics.REFUSED.labels(request.model, "queue_full").inc()
            told = f"{self._max_in_flight} requests are under way already"
            raise OverloadedError(told, retry_after_s=_retry_after_s(model.peers[0]))
        way = Way(rows, timeout_s=request.timeout_s)
        return _Asked(self, request, model.peers, served, way)

    def choose(self, peers: Sequence[Peer]) -> Peer:
        """The one with the fewest requests under way; of several, each in turn."""
        if len(peers) == 1:
            return peers[0]
        now_s, turn = time.monotonic(), next(self._turn) % len(peers)
        in_turn = [*peers[turn:], *peers[:turn]]
        return min(in_turn, key=lambda it: (now_s - it.broke_s < AVOIDED_S, it.in_flight))


class _Asked:
    """One request on its way to an answer."""

    def __init__(
        self, router: Router, request: Request, peers: Sequence[Peer], served: Served, way: Way
    ) -> None:
        self.served = served
        self.way = way
        self.peer = router.choose(peers)
        self._router = router
        self._request = request
        self._others = [peer for peer in peers if peer is not self.peer]
        self._started_s = time.monotonic()

    def again(self, fault: Fault) -> None:
        """Finds another way to ask.

        Raises:
            KokeshiError: there is none; it is what the client is told.
        """
        if fault.of_shared_memory and self.way.shared:
            self.way = replace(self.way, shared=False)
        elif fault.code == "NOT_FOUND" and not (self._request.version or self.way.newest):
            self.way = replace(self.way, newest=True)  # it was swapped since the watch looked
        elif fault.elsewhere and self._others:
            self.peer = self._router.choose(self._others)
            self._others = []
        else:
            raise self._told(fault)
        if self.way.timeout_s is not None and self._request.timeout_s is not None:
            left_s = self._request.timeout_s - (time.monotonic() - self._started_s)
            self.way = replace(self.way, timeout_s=max(left_s, 0.0))

    def _told(self, fault: Fault) -> Exception:
        name = self.served.key[0]
        error = error_of(fault, name, _retry_after_s(self.peer))
        if isinstance(error, InferenceError):
            logger.error("model %s failed at %s: %s", name, self.peer.address, fault)
        elif isinstance(error, DeadlineError):
            metrics.REFUSED.labels(name, "deadline").inc()
        elif isinstance(error, OverloadedError):
            metrics.REFUSED.labels(name, "queue_full").inc()
        return error

    def measure(self) -> None:
        """Counts the time until the answer."""
        _timer(self.served.key[0]).observe(time.monotonic() - self._started_s)


@lru_cache
def _timer(model: str) -> Histogram:
    return metrics.STAGE_SECONDS.labels("infer", model)


def _retry_after_s(peer: Peer) -> float:
    """By Little's law what is under way now is answered after the mean latency."""
    return min(max(peer.latency_s, MIN_RETRY_S), MAX_RETRY_S)
