"""What is known of the request being answered, and the one place that counts, times and logs it."""

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeGuard

from kokeshi import metrics
from kokeshi.errors import KokeshiError, OverloadedError, SetupError
from kokeshi.gateway import logs

UNKNOWN: Final = "unknown"  # the call of a request that no route or method takes
INTERNAL_MESSAGE: Final = "internal error"
REQUEST_ID: Final = "x-request-id"
RETRY_AFTER_MS: Final = "retry-after-ms"  # in the trailers of gRPC
# Calls of probes and scrapers: they are counted, but their log lines are for debugging only.
PROBES: Final = frozenset({"Check", "HealthLive", "HealthReady", "Metrics"})
# gRPC sends the message percent-encoded in trailers, which hold 8 KiB in all.
MAX_MESSAGE_CHARS: Final = 500
MAX_LOGGED_CHARS: Final = 128  # of a model's name, which may be as long as the whole request

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass
class Call:
    """One request on its way through a door."""

    door: str  # "grpc" or "http"
    request_id: str
    name: str = UNKNOWN  # of the RPC
    model: str = ""
    code: str = "OK"


_CURRENT: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that this task answers."""
    return _CURRENT.get()


def request_id(offered: str | None) -> str:
    """The client's request id where it is sane, else a new one."""
    return offered if offered and _SANE_ID.fullmatch(offered) else uuid.uuid4().hex


def for_client(error: Exception) -> TypeGuard[KokeshiError]:
    """Whether the client may be told: a `SetupError` names files, and here it is a bug."""
    return isinstance(error, KokeshiError) and not isinstance(error, SetupError)


def message_of(error: KokeshiError) -> str:
    """What the client is told, short enough for gRPC's trailers."""
    message = str(error)
    return (
        message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 3] + "..."
    )


def retry_after_s(error: KokeshiError) -> float | None:
    """Seconds to wait before trying again, where waiting can help."""
    # a request that is too large is refused with 413 and will not shrink
    waits = isinstance(error, OverloadedError) and error.http_status == 429  # noqa: PLR2004
    return error.retry_after_s if waits and isinstance(error, OverloadedError) else None


@contextmanager
def recorded(call: Call) -> Iterator[None]:
    """Counts, times and logs a call; `call` may be completed while it runs."""
    in_flight = metrics.IN_FLIGHT.labels(call.door)
    in_flight.inc()
    started_s = time.perf_counter()
    token = _CURRENT.set(call)
    request_token = logs.REQUEST_ID.set(call.request_id)
    try:
        yield
    except asyncio.CancelledError:
        call.code = "CANCELLED" if call.code == "OK" else call.code
        raise
    finally:
        in_flight.dec()
        _account(call, time.perf_counter() - started_s)
        logs.REQUEST_ID.reset(request_token)
        _CURRENT.reset(token)


def _account(call: Call, taken_s: float) -> None:
    metrics.REQUESTS.labels(call.door, call.name, call.code).inc()
    metrics.REQUEST_SECONDS.labels(call.door, call.name).observe(taken_s)
    fields = {"door": call.door, "call": call.name, "code": call.code}
    if call.model:
        fields["model"] = call.model[:MAX_LOGGED_CHARS]
    logs.request(fields, taken_s, probe=call.name in PROBES)
