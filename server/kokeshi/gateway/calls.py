"""What is known of the request being answered, and the one place that counts, times and logs it."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeGuard

from prometheus_client import Counter, Gauge, Histogram

from kokeshi import metrics
from kokeshi.errors import KokeshiError, OverloadedError, SetupError, TooLargeError
from kokeshi.gateway import logs
from kokeshi.trace import TRACE

UNKNOWN: Final = "unknown"  # the call of a request that no route or method takes
INTERNAL_MESSAGE: Final = "internal error"
REQUEST_ID: Final = "x-request-id"
RETRY_AFTER_MS: Final = "retry-after-ms"  # in the trailers of gRPC
# Calls of probes and scrapers: they are counted, but their log lines are for debugging only.
PROBES: Final = frozenset(
    {"Check", "HealthLive", "HealthReady", "Metrics", "ModelReady", "ServerLive", "ServerReady"}
)
# Calls, by door and name, that come by the thousand a second: a line each would cost a good part of
# what they do. Where they go well, their lines are for debugging only.
OFTEN: Final = frozenset({("grpc", "ModelInfer")})
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
    trace: Mapping[str, str] = field(default_factory=dict)  # headers, for `kokeshi.trace`


_CURRENT: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that this task answers."""
    return _CURRENT.get()


def request_id(offered: str | None) -> str:
    """The client's request id where it is sane, else a new one."""
    return offered if offered and _SANE_ID.fullmatch(offered) else f"{random.getrandbits(128):032x}"


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
    if isinstance(error, OverloadedError) and not isinstance(error, TooLargeError):
        return error.retry_after_s
    return None  # a request that is too large will not shrink


@contextmanager
def recorded(call: Call) -> Iterator[None]:
    """Counts, times and logs a call; `call` may be completed while it runs."""
    started_s = begin(call)
    with Known(call):
        try:
            yield
        except asyncio.CancelledError:
            call.code = "CANCELLED" if call.code == "OK" else call.code
            raise
        finally:
            end(call, started_s)


def begin(call: Call) -> float:
    """Counts a call that ends elsewhere; returns what `end` is to be given."""
    _in_flight(call.door).inc()
    return time.perf_counter()


def end(call: Call, started_s: float) -> None:
    """Counts, times and logs a call that began, once, where it is `Known`."""
    _in_flight(call.door).dec()
    _account(call, time.perf_counter() - started_s)


class Known:
    """A block in which `current`, the logs and the trace know a call."""

    __slots__ = ("_call", "_current", "_id", "_trace")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        call = self._call
        self._current = _CURRENT.set(call)
        self._id = logs.REQUEST_ID.set(call.request_id)
        self._trace = TRACE.set(call.trace)

    def __exit__(self, *raised: object) -> None:
        TRACE.reset(self._trace)
        logs.REQUEST_ID.reset(self._id)
        _CURRENT.reset(self._current)


def _account(call: Call, taken_s: float) -> None:
    _requests(call.door, call.name, call.code).inc()
    _seconds(call.door, call.name).observe(taken_s)
    often = call.code == "OK" and (call.door, call.name) in OFTEN
    quiet = often or call.name in PROBES
    if not logs.REQUESTS.isEnabledFor(logging.DEBUG if quiet else logging.INFO):
        return
    fields = {"door": call.door, "call": call.name, "code": call.code}
    if call.model:
        fields["model"] = call.model[:MAX_LOGGED_CHARS]
    logs.request(fields, taken_s, probe=quiet)


# Finding a metric's child costs more than counting with it. Doors, names and codes are ours, so
# there are only so many.
@cache
def _in_flight(door: str) -> Gauge:
    return metrics.IN_FLIGHT.labels(door)


@cache
def _requests(door: str, name: str, code: str) -> Counter:
    return metrics.REQUESTS.labels(door, name, code)


@cache
def _seconds(door: str, name: str) -> Histogram:
    return metrics.REQUEST_SECONDS.labels(door, name)
