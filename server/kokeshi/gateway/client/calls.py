"""One call over gRPC: builds its message, sends it, and turns a bad status into Kokeshi's error."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from kokeshi.errors import (
    AlreadyExistsError,
    CancelledError,
    DeadlineError,
    InvalidRequestError,
    KokeshiError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    SpaceMismatchError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.gateway.calls import REQUEST_ID, RETRY_AFTER_MS

M = TypeVar("M", bound=Message)

# Of several errors with one code the parent: the wire does not carry which child it was.
ERRORS: Final[Mapping[str, type[KokeshiError]]] = {
    error.code: error
    for error in (
        KokeshiError,
        InvalidRequestError,
        UnauthenticatedError,
        PermissionDeniedError,
        NotFoundError,
        AlreadyExistsError,
        SpaceMismatchError,
        OverloadedError,
        UnavailableError,
        DeadlineError,
        CancelledError,
        UnimplementedError,
    )
}


class UnreachableError(UnavailableError):
    """No server answers at the address."""


def message(kind: type[M], **fields: object) -> M:
    """A protobuf message; fields that are None are left out.

    Raises:
        InvalidRequestError: a value does not fit its field.
    """
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"the request cannot be sent: {error}") from error


def call(method: Callable[..., Any], request: Message, *, address: str, timeout_s: float) -> Any:  # noqa: ANN401 - the method's own answer
    """Sends one request and returns its answer.

    Raises:
        UnreachableError: no server answers.
        KokeshiError: the server refused; the class follows from the status.
    """
    try:
        return method(request, timeout=timeout_s)
    except grpc.RpcError as error:
        raise _error(error, address, timeout_s) from error


def stream(
    method: Callable[..., Any], requests: Iterable[Message], *, address: str
) -> Generator[Any, None, None]:
    """Sends requests as the server takes them, and gives its answers as they come.

    A request that cannot be made ends the stream.

    Raises:
        UnreachableError: no server answers.
        KokeshiError: the server refused; the class follows from the status.
    """
    failed: list[Exception] = []

    def sent() -> Iterator[Message]:
        try:
            yield from requests
        except Exception as error:  # on a thread of grpc's, which would lose it
            failed.append(error)
            answers.cancel()

    answers = method(sent())
    try:
        yield from answers
    except grpc.RpcError as error:
        if failed:
            raise failed[0] from None
        raise _error(error, address, 0.0) from error
    finally:
        answers.cancel()


def _error(error: Any, address: str, timeout_s: float) -> KokeshiError:  # noqa: ANN401 - grpc is untyped
    code, told = error.code().name, error.details() or ""
    trailers = dict(error.trailing_metadata() or ())
    from_server = REQUEST_ID in trailers
    if code == "UNAVAILABLE" and not from_server:
        return UnreachableError(f"no server answers at {address!r}: {told}")
    if code == "DEADLINE_EXCEEDED" and not from_server:
        return DeadlineError(f"no answer from {address!r} within {timeout_s:g} s")
    if code == "RESOURCE_EXHAUSTED":
        wait_ms = trailers.get(RETRY_AFTER_MS)
        return OverloadedError(told, float(wait_ms) / 1000) if wait_ms else TooLargeError(told)
    return ERRORS.get(code, KokeshiError)(told or code)
