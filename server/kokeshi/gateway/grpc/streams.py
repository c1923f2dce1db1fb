"""Streams whose method blocks: each holds a thread of its own for as long as its client likes."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Final

from kokeshi.errors import OverloadedError
from kokeshi.gateway.calls import recorded
from kokeshi.gateway.grpc.interceptor import Method
from kokeshi.gateway.grpc.rpc import Reply, Rpc

MAX_STREAMS: Final = 128


class Streams:
    """Runs them.

    Args:
        most: at once; those that come beyond are refused.
    """

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self._most = most
        self._places = threading.BoundedSemaphore(most)

    def start(self, method: Method, rpc: Rpc) -> None:
        """Answers a stream on a thread of its own, or refuses it."""
        if not self._places.acquire(blocking=False):
            method.refuse(
                rpc, OverloadedError(f"{self._most} streams are open, and no more may be")
            )
            return
        name = f"kokeshi-grpc-{method.name}"
        thread = threading.Thread(target=self._run, args=(method, rpc), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more
            self._places.release()
            method.refuse(rpc, OverloadedError("no thread is left for a stream"))

    def _run(self, method: Method, rpc: Rpc) -> None:
        reply = Reply()
        try:
            reply = _answered(method, rpc)
        finally:
            self._places.release()
            rpc.finish(reply)


def _answered(method: Method, rpc: Rpc) -> Reply:
    call = method.called(rpc)
    with recorded(call):
        try:
            answers = method.behaviour(_messages(method, rpc), rpc)
            try:
                for answer in answers:
                    if not _sent(rpc, method.write(answer)):
                        break
            finally:
                answers.close()
            call.code = "CANCELLED" if rpc.cancelled else call.code
            return method.ended(call)
        except Exception as error:
            return method.failed(call, rpc, error)


def _messages(method: Method, rpc: Rpc) -> Iterator[Any]:
    """The requests of a stream, each asked for when it is wanted."""
    arrived: SimpleQueue[bytes | None] = SimpleQueue()
    while True:
        rpc.receive(arrived.put)
        data = arrived.get()
        if data is None:
            return
        yield method.message(data)


def _sent(rpc: Rpc, message: bytes) -> bool:
    """Whether a message went; waits until the next may be sent."""
    went: SimpleQueue[bool] = SimpleQueue()
    rpc.send(message, went.put)
    return went.get()
