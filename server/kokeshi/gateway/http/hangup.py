"""A request whose client hung up is cancelled, as gRPC does by itself."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Hangup:
    """ASGI middleware that listens to the connection from the end of a body to that of its answer.

    A request without a body is not listened to: none of them takes long.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI.

        Raises:
            ClientDisconnect: the client hung up, and the request was cancelled.
        """
        connection = _Connection(receive, send)
        try:
            await self._app(scope, connection.receive, connection.send)
        except asyncio.CancelledError:
            if not connection.hung_up:
                raise
            connection.task.uncancel()
            raise ClientDisconnect from None
        finally:
            connection.ignore()


class _Connection:
    """Passes messages on, and cancels the task that made it when the client hangs up."""

    def __init__(self, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # made in a coroutine
        self.task = task
        self.hung_up = False
        self._receive = receive
        self._send = send
        self._answered = False
        self._listener: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        """See ASGI. Once the body has ended, everybody waits for the one message that follows."""
        if self._listener is not None:
            return await asyncio.shield(self._listener)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._listener = asyncio.create_task(self._next())
            self._listener.add_done_callback(self._end)
        return message

    async def _next(self) -> Message:
        return await self._receive()

    def _end(self, listener: asyncio.Task[Message]) -> None:
        # an answered request hears of the end of its connection too
        if not (self._answered or listener.cancelled()):
            self.hung_up = True
            self.task.cancel()

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    def ignore(self) -> None:
        """Listens no longer."""
        if self._listener is not None:
            self._listener.cancel()
