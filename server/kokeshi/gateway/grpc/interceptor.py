"""The one place of this door that names, times and counts calls and turns errors into statuses."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from grpc import RpcMethodHandler

from kokeshi.errors import InvalidRequestError, KokeshiError
from kokeshi.gateway.calls import (
    INTERNAL_MESSAGE,
    REQUEST_ID,
    RETRY_AFTER_MS,
    Call,
    for_client,
    message_of,
    recorded,
    request_id,
    retry_after_s,
)
from kokeshi.gateway.grpc.rpc import Metadata, Reply, Rpc
from kokeshi.trace import HEADERS

logger: Final = logging.getLogger(__name__)

StatusOf = Callable[[KokeshiError], str]

# Fields of requests that name a model: kokeshi.v1's and KServe's.
MODEL_FIELDS: Final = ("model", "model_name")


def own_code(error: KokeshiError) -> str:
    """The house's own table of statuses."""
    return error.code


class Method(NamedTuple):
    """One RPC: how its messages are read and written, and how its errors are told."""

    name: str
    behaviour: Callable[..., Any]
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    status_of: StatusOf = own_code

    def called(self, rpc: Rpc) -> Call:
        """The call that begins, under its request id and trace."""
        offered, trace = None, {}
        for key, value in rpc.invocation_metadata():
            if key == REQUEST_ID and isinstance(value, str):
                offered = value
            elif key in HEADERS and isinstance(value, str):
                trace[key] = value
        return Call("grpc", request_id(offered), self.name, trace=trace)

    def message(self, data: bytes, call: Call | None = None) -> Any:  # noqa: ANN401 - any message
        """A request, read inside the call: grpc itself answers UNKNOWN to what is none.

        Raises:
            InvalidRequestError: it is no message of this method.
        """
        try:
            request = self.read(data)
        except DecodeError as error:
            raise InvalidRequestError("the request is not a message of this method") from error
        field = _model_field(request.DESCRIPTOR)
        if call is not None and field:
            call.model = getattr(request, field)
        return request

    def answered(self, call: Call, answer: Any) -> Reply:  # noqa: ANN401 - any message
        """The end of a call that went well."""
        return Reply(self.write(answer), trailers=_trailers(call))

    def ended(self, call: Call) -> Reply:
        """The end of a stream that went well."""
        return Reply(trailers=_trailers(call))

    def refuse(self, rpc: Rpc, error: KokeshiError) -> None:
        """Ends and records a call whose method is not to run."""
        call = self.called(rpc)
        with recorded(call):
            reply = self.failed(call, rpc, error)
        rpc.finish(reply)

    def failed(self, call: Call, rpc: Rpc, error: Exception) -> Reply:
        """The end of a call that did not; what is not for the client is logged."""
        if for_client(error):
            call.code = self.status_of(error)
            return _refused(call, error)
        if isinstance(error, NotImplementedError) and rpc.declared.code != "OK":
            call.code = rpc.declared.code  # a method that a servicer left as it was generated
            return rpc.declared._replace(trailers=_trailers(call))
        logger.error("%s failed", self.name, exc_info=error)
        call.code = "INTERNAL"
        return Reply(code=call.code, details=INTERNAL_MESSAGE, trailers=_trailers(call))


def method_of(path: str, handler: RpcMethodHandler, statuses: Mapping[str, StatusOf]) -> Method:
    """The method that generated code registered.

    Args:
        path: "/service/method".
        handler: of the method.
        statuses: by full name of a service, the status of an error where it is not the house's own.
    """
    _, service, name = path.split("/")
    behaviour = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    status_of = statuses.get(service, own_code)
    read, write = handler.request_deserializer, handler.response_serializer
    return Method(name, behaviour, read, write, status_of)


def _refused(call: Call, error: KokeshiError) -> Reply:
    """The end of a call with an error for the client, under the code that the call has."""
    told = _trailers(call)
    wait_s = retry_after_s(error)
    if wait_s is not None:
        told = (*told, (RETRY_AFTER_MS, str(round(wait_s * 1000))))
    return Reply(code=call.code, details=message_of(error), trailers=told)


def _trailers(call: Call) -> Metadata:
    """What every answer ends with."""
    return ((REQUEST_ID, call.request_id),)


@cache
def _model_field(descriptor: Any) -> str:  # noqa: ANN401 - protobuf's descriptor of a message
    return next((name for name in MODEL_FIELDS if name in descriptor.fields_by_name), "")
