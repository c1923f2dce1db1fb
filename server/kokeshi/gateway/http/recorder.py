"""The one place of this door that names, times and counts requests and catches bugs."""

import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kokeshi.gateway.calls import REQUEST_ID, UNKNOWN, Call, recorded, request_id
from kokeshi.gateway.http.errors import internal_error
from kokeshi.trace import HEADERS

logger: Final = logging.getLogger(__name__)


class Recorder:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace = {name: headers[name] for name in HEADERS if name in headers}
        call = Call("http", request_id(headers.get(REQUEST_ID)), trace=trace)
        with recorded(call):
            try:
                await self._answer(call, scope, receive, send)
            finally:
                call.name = getattr(scope.get("route"), "name", UNKNOWN)
                call.model = call.model or scope.get("path_params", {}).get("model", "")

    async def _answer(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID] = call.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            call.code = "CANCELLED"
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            call.code = "INTERNAL"
            if not started:
                await internal_error(scope["path"])(scope, receive, send_with_id)
