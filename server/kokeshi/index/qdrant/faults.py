"""What Qdrant and its client raise, in the words of this house.

Its own words name hosts, fields and internals: they go to the log, never to a user.
"""

import logging
import re
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
_GONE: Final = {"UNAVAILABLE", "CANCELLED"}
_CREDENTIALS: Final = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
# the local mode has no codes
_ABSENT: Final = re.compile(r"Collection \S+ not found")


def translated(error: Exception, *, name: str, timeout_s: float) -> KokeshiError:
    """The exception to raise for one of qdrant-client or gRPC.

    Args:
        error: what came.
        name: of the collection that was asked for.
        timeout_s: the deadline that the call had.
    """
    code = _code(error)
    if code == "NOT_FOUND":
        return CollectionNotFoundError(f"no collection {name!r:.80}")
    logger.warning("qdrant, code %s: %s", code, error)
    if code in _GONE:
        return GoneError("qdrant cannot be reached")
    if code == "DEADLINE_EXCEEDED":
        return DeadlineError(f"qdrant did not answer within {timeout_s:g} s")
    return _refused(error, code)


def _refused(error: Exception, code: str) -> KokeshiError:
    """Qdrant answered, and said no."""
    if code == "RESOURCE_EXHAUSTED":
        retry_after_s = float(getattr(error, "retry_after_s", RETRY_AFTER_S))
        return OverloadedError("qdrant takes no more work now", retry_after_s)
    if code in _CREDENTIALS:
        return UnavailableError("qdrant refuses the credentials of this gateway")
    if code == "UNIMPLEMENTED":
        return UnimplementedError("this version of qdrant lacks a call that is needed")
    return KokeshiError("qdrant failed the call")


def _code(error: Exception) -> str:
    """Name of a gRPC status; "" where there is none."""
    if hasattr(error, "retry_after_s"):
        return "RESOURCE_EXHAUSTED"
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    if code is None and isinstance(error, ValueError) and _ABSENT.match(str(error)):
        return "NOT_FOUND"
    return str(getattr(code, "name", ""))
