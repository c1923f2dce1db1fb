"""The one place of this door that names, times and counts calls and turns errors into statuses."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import ServerInterceptor, ServicerContext

from kokeshi import metrics
from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.calls import (
    INTERNAL_MESSAGE,
    REQUEST_ID,
    RETRY_AFTER_MS,
    UNKNOWN,
    Call,
    current,
    for_client,
    message_of,
    recorded,
    request_id,
    retry_after_s,
)

logger = logging.getLogger(__name__)

Handler = Callable[[Any, ServicerContext], Awaitable[Any]]
Read = Callable[[bytes], Any]


class CallInterceptor(ServerInterceptor):
    """Wraps every method that answers once; health watches and reflection stream their own way."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        if handler is None:
            metrics.REQUESTS.labels("grpc", UNKNOWN, "UNIMPLEMENTED").inc()
            return None
        if handler.response_streaming:
            return handler
        name = handler_call_details.method.rpartition("/")[2]
        read: Read = handler.request_deserializer
        # Messages are read inside the wrapped call: what is no such message is a bad request, where
        # grpc's own deserialising would answer UNKNOWN.
        if handler.request_streaming:
            wrapped = _wrapped(name, _reading_each(handler.stream_unary, read))
            return grpc.stream_unary_rpc_method_handler(wrapped, None, handler.response_serializer)
        wrapped = _wrapped(name, _reading(handler.unary_unary, read))
        return grpc.unary_unary_rpc_method_handler(wrapped, None, handler.response_serializer)


def _wrapped(name: str, method: Handler) -> Handler:
    async def answer(request: Any, context: ServicerContext) -> Any:  # noqa: ANN401 - any message
        offered = dict(context.invocation_metadata() or ()).get(REQUEST_ID)
        call = Call("grpc", request_id(offered if isinstance(offered, str) else None), name)
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        with recorded(call):
            try:
                return await method(request, context)
            except Exception as error:
                if for_client(error):
                    call.code = error.code
                    await _abort(context, call, message_of(error), retry_after_s(error))
                logger.exception("%s failed", name)
                call.code = "INTERNAL"
                await _abort(context, call, INTERNAL_MESSAGE)

    return answer


async def _abort(
    context: ServicerContext, call: Call, message: str, wait_s: float | None = None
) -> NoReturn:
    metadata = [(REQUEST_ID, call.request_id)]
    if wait_s is not None:
        metadata.append((RETRY_AFTER_MS, str(round(wait_s * 1000))))
    await context.abort(grpc.StatusCode[call.code], message, tuple(metadata))
    raise AssertionError("abort always raises")


def _reading(method: Handler, read: Read) -> Handler:
    async def answer(data: bytes, context: ServicerContext) -> Any:  # noqa: ANN401 - any message
        request = _message(read, data)
        current().model = getattr(request, "model", "")
        return await method(request, context)

    return answer


def _reading_each(method: Handler, read: Read) -> Handler:
    async def messages(stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in stream:
            yield _message(read, data)

    async def answer(stream: AsyncIterator[bytes], context: ServicerContext) -> Any:  # noqa: ANN401 - any message
        return await method(messages(stream), context)

    return answer


def _message(read: Read, data: bytes) -> Any:  # noqa: ANN401 - any message
    try:
        return read(data)
    except DecodeError as error:
        raise InvalidRequestError("the request is not a message of this method") from error
