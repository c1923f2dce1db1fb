"""What Triton answers when it does not answer, in Kokeshi's terms.

Triton has one status for many things (INTERNAL for a graph that failed and for a process that died,
UNAVAILABLE for a full queue and for a server that is gone), so the texts decide where it must be.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kokeshi.errors import (
    DeadlineError,
    InferenceError,
    InvalidRequestError,
    KokeshiError,
    ModelNotFoundError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
    UnimplementedError,
)

GONE: Final = "the Triton server does not answer"
RETRY_AFTER_MS: Final = "retry-after-ms"  # in the trailers of another Kokeshi
_QUEUE_FULL: Final = "Exceeds maximum queue size"
_QUEUE_TIMEOUT: Final = "Request timeout expired"
_STUB_DIED: Final = re.compile(r"Stub process.*is not healthy|stub process.*(died|exited)", re.I)
_NO_REGION: Final = re.compile(r"unable to find.*shared memory region", re.I)
_SHARED_MEMORY: Final = re.compile(r"shared memory (region|size)", re.I)
_REQUEST_ID: Final = re.compile(r"^\[request id: [^]]*\] *")
_PATH: Final = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)*([\w.@+-]+)")


_BROKEN: Final = re.compile(r"RST_STREAM|stream removed|socket closed", re.I)
_REFUSALS: Final = frozenset({"INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"})


class Fault(Exception):  # noqa: N818 - it is no error of ours until `error_of` says which
    """A call that Triton, or the way to it, answered with a status.

    Args:
        code: gRPC's name of the status, such as "NOT_FOUND".
        details: its text.
        retry_after_s: when to come again, where the server said so; Triton does not.
    """

    def __init__(self, code: str, details: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = _REQUEST_ID.sub("", details)
        self.retry_after_s = retry_after_s

    @property
    def reason(self) -> str:
        """The text for clients: without the server's paths."""
        return without_paths(self.details)

    @property
    def refused(self) -> bool:
        """The server said that it is done with the request, and not that it was begun."""
        return self.queue_full or self.code in {"INVALID_ARGUMENT", "NOT_FOUND"}

    @property
    def queue_full(self) -> bool:
        """The model's queue refused it, so it did not run."""
        if self.retry_after_s is not None:
            return True
        return self.code == "UNAVAILABLE" and _QUEUE_FULL in self.details

    @property
    def queue_timeout(self) -> bool:
        """It waited in the queue longer than the model's policy or the request allows."""
        return self.code == "UNAVAILABLE" and _QUEUE_TIMEOUT in self.details

    @property
    def elsewhere(self) -> bool:
        """Another address may answer it: this one refused it, or is going."""
        if self.code == "UNAVAILABLE" or self.queue_full:
            return not self.queue_timeout
        return self.code == "CANCELLED" or self._broken

    @property
    def _broken(self) -> bool:
        """The connection ended under it, of which gRPC has several things to say."""
        return self.code in {"INTERNAL", "UNKNOWN"} and bool(_BROKEN.search(self.details))

    @property
    def process_died(self) -> bool:
        """The process that ran the model is gone, which Triton's own readiness does not show."""
        return self.code == "INTERNAL" and bool(_STUB_DIED.search(self.details))

    @property
    def region_gone(self) -> bool:
        """The server does not know our memory: it was started anew."""
        return bool(_NO_REGION.search(self.details))

    @property
    def of_shared_memory(self) -> bool:
        """It did not run for want of memory that both see; over gRPC it may."""
        return self.code in _REFUSALS and bool(_SHARED_MEMORY.search(self.details))


def fault_of(error: Any) -> Fault:  # noqa: ANN401 - grpc is untyped
    """A fault from the exception of a gRPC call."""
    trailers = dict(error.trailing_metadata() or ())
    wait_ms = trailers.get(RETRY_AFTER_MS)
    wait_s = int(wait_ms) / 1000 if wait_ms else None
    return Fault(error.code().name, error.details() or "", wait_s)


_Make = Callable[[Fault, str], KokeshiError]


def _invalid(fault: Fault, _model: str) -> KokeshiError:
    return InvalidRequestError(fault.reason)


def _refused(_fault: Fault, model: str) -> KokeshiError:
    """The gateway's own credentials are wrong, which is nothing that its client can mend."""
    return UnavailableError(f"model {model!r}: the Triton server refuses this gateway")


def _late(_fault: Fault, model: str) -> KokeshiError:
    return DeadlineError(f"model {model!r} did not answer in time")


def _died(_fault: Fault, model: str) -> KokeshiError:
    return UnavailableError(f"model {model!r} is failed: the process that ran it died")


_ERRORS: Final[Mapping[str, _Make]] = {
    "NOT_FOUND": lambda _, model: ModelNotFoundError(f"no model named {model!r}"),
    "DEADLINE_EXCEEDED": _late,
    "INVALID_ARGUMENT": _invalid,
    "OUT_OF_RANGE": _invalid,
    "FAILED_PRECONDITION": _invalid,
    "ALREADY_EXISTS": _invalid,
    "RESOURCE_EXHAUSTED": lambda it, model: TooLargeError(f"model {model!r}: {it.reason}"),
    "UNAUTHENTICATED": _refused,
    "PERMISSION_DENIED": _refused,
    "UNIMPLEMENTED": lambda it, _: UnimplementedError(it.reason),
}


def error_of(fault: Fault, model: str, retry_after_s: float) -> KokeshiError:
    """The error for the client of a request to a model."""
    if fault.queue_full:
        told = f"the queue of model {model!r} is full"
        return OverloadedError(told, retry_after_s=fault.retry_after_s or retry_after_s)
    if fault.queue_timeout:
        return _late(fault, model)
    if fault.process_died:
        return _died(fault, model)
    if fault.elsewhere:
        return UnavailableError(f"model {model!r}: {silence(fault)}")
    if fault.code in _ERRORS:
        return _ERRORS[fault.code](fault, model)
    return InferenceError(f"model {model!r} failed to run")


def silence(fault: Fault) -> str:
    """Why a server does not answer, in a few words and without its address."""
    last = fault.reason.rsplit(": ", 1)[-1].strip().rstrip(".")
    if fault.code == "DEADLINE_EXCEEDED":
        last = "no answer in time"
    return f"{GONE}: {last[:1].lower()}{last[1:]}" if last else GONE


def without_paths(text: str) -> str:
    """A text of the server's with its file names, but not the folders they are in."""
    return _PATH.sub(r"\1", text)
