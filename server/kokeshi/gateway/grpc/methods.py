"""How calls of each kind of method run: on the thread that took them, or on the event loop.

A plain method blocks; it runs on a thread. One with a third argument, `tell`, may return before it
answers, which it does by calling that once, on any thread, with a message or an exception; where it
raises, it never does. It should not block; what might, it returns in the place of an answer, as a
function that makes a coroutine. That runs on the event loop, as do methods that are coroutines or
asynchronous generators, and holds no thread.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, Final, TypeVar

from grpc import RpcMethodHandler

from kokeshi.errors import CancelledError
from kokeshi.gateway.calls import Call, Known, begin, end, recorded
from kokeshi.gateway.grpc.interceptor import Method
from kokeshi.gateway.grpc.rpc import Reply, Rpc
from kokeshi.gateway.grpc.streams import Streams
from kokeshi.gateway.grpc.wire import Server, Start

T = TypeVar("T")

Tell = Callable[[Any], None]

TELL: Final = "tell"
# Neither timed nor counted, for they last as long as clients like.
ENDLESS: Final = frozenset({"Watch", "ServerReflectionInfo"})
NO_REQUEST: Final = Reply(code="UNIMPLEMENTED", details="the method takes exactly one message")


def starting(method: Method, handler: RpcMethodHandler, server: Server, streams: Streams) -> Start:
    """How a call of a method starts; it does not wait.

    Args:
        method: what is called.
        handler: as generated code registers it; says what streams.
        server: runs what blocks, and has the event loop.
        streams: run what blocks and streams.
    """
    behaviour = method.behaviour
    if inspect.isasyncgenfunction(behaviour):
        if handler.request_streaming:
            return lambda rpc: _on_loop(server, rpc, lambda: _generating(method, rpc, None))
        return lambda rpc: _with_message(
            rpc, lambda data: _on_loop(server, rpc, lambda: _generating(method, rpc, data))
        )
    if handler.request_streaming and inspect.iscoroutinefunction(behaviour):
        return lambda rpc: _on_loop(server, rpc, lambda: _collecting(method, rpc))
    if inspect.iscoroutinefunction(behaviour):
        return lambda rpc: _with_message(
            rpc, lambda data: _on_loop(server, rpc, lambda: _answering(method, rpc, data))
        )
    if handler.response_streaming:
        return lambda rpc: streams.start(method, rpc)
    run, answer = server.run, _answer
    if TELL in inspect.signature(behaviour).parameters:
        run, answer = server.run_soon, partial(_answer_soon, server)
    return lambda rpc: _with_message(rpc, lambda data: run(lambda: answer(method, rpc, data)))


def _with_message(rpc: Rpc, then: Callable[[bytes], None]) -> None:
    def received(data: bytes | None) -> None:
        if data is None:  # it was too large, or the client left; or it is no client of ours
            rpc.finish(NO_REQUEST)
        else:
            then(data)

    rpc.receive(received)


def _answer(method: Method, rpc: Rpc, data: bytes) -> None:
    """Runs a method that blocks, on this thread."""
    call = method.called(rpc)
    reply = Reply()
    try:
        with recorded(call):
            if rpc.cancelled:  # while it waited for a thread
                call.code = "CANCELLED"
                return
            try:
                answer = method.behaviour(method.message(data, call), rpc)
                reply = method.answered(call, answer)
            except Exception as error:
                reply = method.failed(call, rpc, error)
    finally:
        rpc.finish(reply)


def _answer_soon(server: Server, method: Method, rpc: Rpc, data: bytes) -> None:
    """Runs a method that tells its answer, on this thread or another."""
    call = method.called(rpc)
    started_s = begin(call)

    def tell(answer: Any) -> None:  # noqa: ANN401 - a message, or an exception
        with Known(call):
            reply = Reply()
            try:
                reply = _told(method, call, rpc, answer)
            finally:
                end(call, started_s)
                rpc.finish(reply)

    if rpc.cancelled:  # while it waited for a thread
        tell(CancelledError("the caller has left"))
        return
    with Known(call):
        try:
            rest = method.behaviour(method.message(data, call), rpc, tell)
        except Exception as error:
            tell(error)
            return
        if rest is not None:
            _start_on_loop(server, rpc, lambda: _telling(rest, tell))


async def _telling(rest: Callable[[], Coroutine[Any, Any, Any]], tell: Tell) -> None:
    answer: Any = CancelledError("the caller has left")
    try:
        answer = await rest()
    except Exception as error:
        answer = error
    finally:
        tell(answer)


def _told(method: Method, call: Call, rpc: Rpc, answer: Any) -> Reply:  # noqa: ANN401 - any message
    if isinstance(answer, Exception):
        return method.failed(call, rpc, answer)
    try:
        return method.answered(call, answer)
    except Exception as error:
        return method.failed(call, rpc, error)


def _on_loop(server: Server, rpc: Rpc, work: Callable[[], Coroutine[Any, Any, Reply]]) -> None:
    """Finishes a call with what a coroutine returns, and cancels it with the call."""

    async def finishing() -> None:
        reply = Reply(code="CANCELLED")
        try:
            reply = await work()
        finally:
            rpc.finish(reply)

    _start_on_loop(server, rpc, finishing)


def _start_on_loop(server: Server, rpc: Rpc, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a coroutine, cancelled with the call."""

    def begin() -> None:
        task = server.loop.create_task(work())

        def over() -> None:
            if rpc.cancelled:
                server.loop.call_soon_threadsafe(task.cancel)

        rpc.add_callback(over)

    server.loop.call_soon_threadsafe(begin)


async def _answering(method: Method, rpc: Rpc, data: bytes) -> Reply:
    call = method.called(rpc)
    with recorded(call):
        try:
            answer = await method.behaviour(method.message(data, call), rpc)
            return method.answered(call, answer)
        except Exception as error:
            return method.failed(call, rpc, error)


async def _collecting(method: Method, rpc: Rpc) -> Reply:
    call = method.called(rpc)
    with recorded(call):
        try:
            return method.answered(call, await method.behaviour(_messages(method, rpc), rpc))
        except Exception as error:
            return method.failed(call, rpc, error)


async def _generating(method: Method, rpc: Rpc, data: bytes | None) -> Reply:
    call = method.called(rpc)
    with nullcontext() if method.name in ENDLESS else recorded(call):
        try:
            request = _messages(method, rpc) if data is None else method.message(data)
            async with aclosing(method.behaviour(request, rpc)) as answers:
                async for answer in answers:
                    if not await _sent(rpc, method.write(answer)):
                        break
        except Exception as error:
            return method.failed(call, rpc, error)
        return method.ended(call)


async def _messages(method: Method, rpc: Rpc) -> AsyncIterator[Any]:
    """The requests of a stream, each asked for when it is wanted."""
    while (data := await _heard(rpc.receive)) is not None:
        yield method.message(data)


async def _sent(rpc: Rpc, message: bytes) -> bool:
    """Whether a message went; waits until the next may be sent."""
    return await _heard(lambda then: rpc.send(message, then))


async def _heard(ask: Callable[[Callable[[T], None]], None]) -> T:
    """What a callback is given on a thread of the server."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T) -> None:
        if not future.done():  # the task was cancelled meanwhile
            future.set_result(value)

    def told(value: T) -> None:
        loop.call_soon_threadsafe(settle, value)

    ask(told)
    return await future
