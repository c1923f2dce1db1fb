"""One call on the wire, as its method and as whatever runs the method see it.

It speaks to `grpc._cython.cygrpc`, the layer on which grpcio's own servers stand: see `wire`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

import grpc
from grpc._cython import cygrpc

Metadata = Sequence[tuple[str, str | bytes]]

_NO_FLAGS: Final = 0
_NEVER_S: Final = 1e18  # a call without a deadline has one past this, in seconds of Unix time


class Reply(NamedTuple):
    """The end of a call: a message or none, and the status."""

    message: bytes | None = None
    code: str = "OK"
    details: str = ""
    trailers: Metadata = ()


class Host(Protocol):
    """What a call tells when nobody needs it any more."""

    def left(self, rpc: "Rpc") -> None:
        """The call is over, on the wire and in its method."""


class Rpc:
    """A call. Everything may be called from any thread; nothing here waits.

    Servicers get it as their context and find the names of `grpc.ServicerContext` on it.

    Args:
        event: a call that arrived.
        host: told when it is over.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_callbacks",
        "_cancelled",
        "_closed",
        "_deadline_s",
        "_finished",
        "_host",
        "_metadata",
        "declared",
        "method",
    )

    def __init__(self, event: Any, host: Host) -> None:  # noqa: ANN401 - grpc is untyped
        self.method: str = event.call_details.method.decode(errors="replace")
        self.declared = Reply()  # what the method said by `set_code` and `set_details`
        self._call = event.call
        self._deadline_s: float = event.call_details.deadline
        self._metadata: Metadata = event.invocation_metadata
        self._host = host
        self._callbacks: list[Callable[[], object]] = []
        self._begun = self._cancelled = self._closed = self._finished = False

    def open(self) -> None:
        """Listens for the end of the call; `finish` has to follow, even when it is cancelled."""
        self._start((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._on_close)

    def _on_close(self, event: Any) -> None:  # noqa: ANN401 - grpc is untyped
        self._cancelled = event.batch_operations[0].cancelled()
        self._closed = True
        if self._finished:
            self._host.left(self)
        self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread had the last
                return
            callback()

    def _start(self, operations: Sequence[Any], then: Callable[[Any], None]) -> None:
        self._call.start_server_batch(operations, then)

    @property
    def cancelled(self) -> bool:
        """Whether the client left, or its deadline passed."""
        return self._cancelled

    def is_active(self) -> bool:
        """Whether somebody waits for an answer."""
        return not (self._closed or self._finished)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, not below 0; None where the client set none."""
        if self._deadline_s > _NEVER_S:
            return None
        return max(self._deadline_s - time.time(), 0.0)

    def invocation_metadata(self) -> Metadata:
        """The headers of the request; names are in lower case."""
        return self._metadata

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Has a function called once when the call is over, on any thread, and at once if it is.

        Returns:
            Whether the call was still open.
        """
        self._callbacks.append(callback)
        if self._closed:  # it may just have called all back
            self._call_back()
            return False
        return True

    @contextmanager
    def watching(self) -> Iterator[Callable[[Callable[[], object]], None]]:
        """Gives a function as `leaving`, of which nothing is left when the block ends."""
        added: list[Callable[[], object]] = []

        def watch(leave: Callable[[], object]) -> None:
            added.append(self.leaving(leave))

        try:
            yield watch
        finally:
            for callback in added:
                with suppress(ValueError):  # it was called
                    self._callbacks.remove(callback)

    def leaving(self, leave: Callable[[], object]) -> Callable[[], object]:
        """Has a function called once, on any thread, where the client leaves before its answer.

        Returns:
            What was added for that, as by `add_callback`.
        """

        def over() -> None:
            if self._cancelled:
                leave()

        self.add_callback(over)
        return over

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status that an exception will stand for, as generated servicers declare it."""
        self.declared = self.declared._replace(code=code.name)

    def set_details(self, details: str) -> None:
        """The message that an exception will stand for."""
        self.declared = self.declared._replace(details=details)

    def receive(self, then: Callable[[bytes | None], object]) -> None:
        """Asks for the next message of the request.

        Args:
            then: gets it on a thread of the server, where it must not wait; None: there is none,
                because the client ended its stream or the call is over.
        """

        def received(event: Any) -> None:  # noqa: ANN401 - grpc is untyped
            then(event.batch_operations[0].message())

        self._start((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)

    def send(self, message: bytes, then: Callable[[bool], object]) -> None:
        """Sends one message of a stream; the next may be sent when this one was taken.

        Args:
            message: serialised.
            then: called on a thread of the server, where it must not wait, with whether it went.
        """

        def sent(event: Any) -> None:  # noqa: ANN401 - grpc is untyped
            then(event.success)

        self._start([cygrpc.SendMessageOperation(message, _NO_FLAGS), *self._beginning()], sent)

    def _beginning(self) -> Sequence[Any]:
        if self._begun:
            return ()
        self._begun = True
        return (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),)

    def finish(self, reply: Reply) -> None:
        """Ends the call: the last touch of whoever runs its method, to be made exactly once."""
        if not self._cancelled:
            self._start([*self._ending(reply), *self._beginning()], _nothing)
        self._finished = True
        if self._closed:
            self._host.left(self)

    def _ending(self, reply: Reply) -> Sequence[Any]:
        code = grpc.StatusCode[reply.code].value[0]
        details = reply.details.encode()
        status = cygrpc.SendStatusFromServerOperation(reply.trailers, code, details, _NO_FLAGS)
        if reply.message is None:
            return (status,)
        return cygrpc.SendMessageOperation(reply.message, _NO_FLAGS), status


def _nothing(event: Any) -> None:  # noqa: ANN401 - grpc is untyped
    """What follows the end of a call: its close is told separately."""
