"""Answers of one JSON document per line, sent while the request is still read."""

from collections.abc import AsyncIterator

import orjson
from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from kokeshi.errors import KokeshiError
from kokeshi.gateway.calls import current, for_client, message_of
from kokeshi.gateway.http.answers.errors import ErrorBody, ErrorResponse
from kokeshi.gateway.http.body import NDJSON


class LinesResponse(Response):
    """Sends lines as they come; starlette's own would read the request's body away.

    An error that ends them is the last line.

    Args:
        lines: documents.
    """

    def __init__(self, lines: AsyncIterator[BaseModel]) -> None:
        super().__init__(media_type=NDJSON[0])
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in _ending(self._lines):
            data = orjson.dumps(
                line.model_dump(exclude_none=True),
                option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
            )
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _ending(lines: AsyncIterator[BaseModel]) -> AsyncIterator[BaseModel]:
    try:
        async for line in lines:
            yield line
    except KokeshiError as error:
        if not for_client(error):
            raise
        call = current()
        call.code = error.code
        body = ErrorBody(code=error.code, message=message_of(error), request_id=call.request_id)
        yield ErrorResponse(error=body)
