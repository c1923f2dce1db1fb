"""Which status an error has in KServe v2: Triton's table, which is not the house's own.

Triton knows eight codes; where the house says more (`FAILED_PRECONDITION`), clients of Triton are
told what they know. Its HTTP statuses are in `HttpCodeFromError` of its src/http_server.cc.
"""

from typing import Final

from kokeshi.errors import KokeshiError, OverloadedError, TooLargeError

# Code of the house -> Triton's.
_CODES: Final = {
    "NOT_FOUND": "NOT_FOUND",
    "ALREADY_EXISTS": "ALREADY_EXISTS",
    "UNAVAILABLE": "UNAVAILABLE",
    "UNIMPLEMENTED": "UNIMPLEMENTED",
    "INTERNAL": "INTERNAL",
    "CANCELLED": "CANCELLED",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    # Triton has no users; whoever is told to bring a key must see that.
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
}
_INVALID: Final = "INVALID_ARGUMENT"
_STATUSES: Final = {
    "NOT_FOUND": 404,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,  # the caller's own; of the queue's Triton says UNAVAILABLE
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "CANCELLED": 499,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
}
_BAD_REQUEST: Final = 400


def grpc_code(error: KokeshiError) -> str:
    """Name of the gRPC status: a full queue is UNAVAILABLE, what can never be right is INVALID."""
    if isinstance(error, OverloadedError) and not isinstance(error, TooLargeError):
        return "UNAVAILABLE"
    return _CODES.get(error.code, _INVALID)


def http_status(error: KokeshiError) -> int:
    """HTTP status."""
    return _STATUSES.get(grpc_code(error), _BAD_REQUEST)
