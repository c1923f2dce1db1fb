"""What Milvus and its client raise, in the words of this house.

Its own words name hosts, fields and internals: they go to the log, never to a user.
"""

import logging
from typing import Final

from kokeshi.errors import (
    CollectionNotFoundError,
    DeadlineError,
    KokeshiError,
    OverloadedError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.index.distributed.telling import GoneError

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 2.0
# Codes of Milvus 2.3 and later (internal/pkg/merr), of its client, and of milvus-lite.
_GONE: Final = {2, "UNAVAILABLE", "CANCELLED"}
_BUSY: Final = {3, 4, 8, 9, "RESOURCE_EXHAUSTED"}
_UNKNOWN_COLLECTION: Final = {100}
_NOT_LOADED: Final = {101, 103}
_CREDENTIALS: Final = {"UNAUTHENTICATED", "PERMISSION_DENIED", 1400, 1401, 1402, 1800, 1801}


class NotLoadedError(Exception):
    """The collection is not in Milvus's memory; loading it mends that."""


def translated(error: Exception, *, name: str, timeout_s: float) -> Exception:
    """The exception to raise for one of pymilvus or gRPC.

    Args:
        error: what came.
        name: of the collection that was asked for.
        timeout_s: the deadline that the call had.
    """
    code = _code(error)
    if code in _NOT_LOADED:
        return NotLoadedError()
    if code in _UNKNOWN_COLLECTION:
        return CollectionNotFoundError(f"no collection {name!r:.80}")
    logger.warning("milvus, code %s: %s", code, error)
    if _is_gone(error, code):
        return GoneError("milvus cannot be reached")
    if _is_late(error, code):
        return DeadlineError(f"milvus did not answer within {timeout_s:g} s")
    return _refused(error, code)


def _refused(error: Exception, code: int | str) -> KokeshiError:
    """Milvus answered, and said no."""
    if code in _BUSY:
        return OverloadedError("milvus takes no more work now", RETRY_AFTER_S)
    if code in _CREDENTIALS:
        return UnavailableError("milvus refuses the credentials of this gateway")
    if code == "UNIMPLEMENTED":
        return UnimplementedError("this version of milvus lacks a call that is needed")
    if getattr(error, "retriable", False):
        return UnavailableError("milvus is not ready")
    return KokeshiError("milvus failed the call")


def _code(error: Exception) -> int | str:
    """A gRPC status by name, or a number of Milvus's."""
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    name = getattr(code, "name", None)
    # Milvus's own codes are an IntEnum: numbers with names
    return name if name is not None and not isinstance(code, int) else (code or 0)


def _is_gone(error: Exception, code: int | str) -> bool:
    return code in _GONE or type(error).__name__ in {"ConnectError", "MilvusUnavailableException"}


def _is_late(error: Exception, code: int | str) -> bool:
    # the client's own retries end in an exception that only its text tells from others
    return code == "DEADLINE_EXCEEDED" or "etry timeout" in str(error)
