"""A request of KServe v2 between its wire and the engine's `Request`, and its answer back."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from kokeshi.engines.protocol import Request, Watch
from kokeshi.errors import (
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
)
from kokeshi.gateway.kserve.checks import check_output, checked_inputs
from kokeshi.gateway.kserve.classification import classes
from kokeshi.gateway.kserve.contracts import Contract, contracts_of
from kokeshi.gateway.kserve.datatypes import BYTES
from kokeshi.gateway.kserve.records import InferAnswer, InferCall, InferOutput, WantedOutput
from kokeshi.service import Service

Outputs = Mapping[str, NDArray[Any]]
Answered = Callable[[InferAnswer | Exception], object]
MIN_TIMEOUT_S: Final = 0.001  # of a deadline that has passed
MAX_VERSION_DIGITS: Final = 18  # of 64 bits; Python refuses to read some thousands


def version_of(text: str) -> int:
    """The version that a text asks for; 0 is the newest.

    Raises:
        InvalidRequestError: it is no version.
    """
    if not text:
        return 0
    digits = text.isascii() and text.isdecimal() and len(text) <= MAX_VERSION_DIGITS
    if not digits or int(text) < 1:
        raise InvalidRequestError(
            f"failed to get model version from specified version string {text!r}: "
            "version should be an integral value > 0"
        )
    return int(text)


async def infer(service: Service, call: InferCall, timeout_s: float | None = None) -> InferAnswer:
    """Runs a call on the event loop.

    Args:
        service: what runs it.
        call: the request.
        timeout_s: the caller's deadline.

    Raises:
        ModelNotFoundError: no such model or version.
        InvalidRequestError: the call does not fit the model.
        DeadlineError: the caller's deadline passed.
        UnavailableError: not ready, or the queue's timeout passed.
    """
    until_s = _until_s(timeout_s)
    prepared = prepare(service, call, timeout_s)
    try:
        try:
            outputs = await service.tensors.infer(prepared.request)
        except (ModelNotFoundError, UnavailableError):
            successor = _successor(service, call, prepared, until_s)
            if successor is None:
                raise
            prepared = successor
            outputs = await service.tensors.infer(prepared.request)
    except DeadlineError as error:
        if _passed(until_s):
            raise
        raise UnavailableError(str(error)) from error  # the queue's timeout, a refusal in Triton
    if any(wanted.classification for wanted in call.outputs):  # labels may lie in a file
        return await asyncio.to_thread(answer_of, service, call, prepared.contract, outputs)
    return answer_of(service, call, prepared.contract, outputs)


def infer_now(
    service: Service, call: InferCall, timeout_s: float | None = None, watch: Watch | None = None
) -> InferAnswer:
    """As `infer`, on the calling thread; `watch` as of `Tensors.infer_now`."""
    until_s = _until_s(timeout_s)
    prepared = prepare(service, call, timeout_s)
    try:
        try:
            outputs = service.tensors.infer_now(prepared.request, watch)
        except (ModelNotFoundError, UnavailableError):
            successor = _successor(service, call, prepared, until_s)
            if successor is None:
                raise
            prepared = successor
            outputs = service.tensors.infer_now(prepared.request, watch)
    except DeadlineError as error:
        if _passed(until_s):
            raise
        raise UnavailableError(str(error)) from error
    return answer_of(service, call, prepared.contract, outputs)


def infer_soon(
    service: Service,
    call: InferCall,
    done: Answered,
    timeout_s: float | None = None,
    watch: Watch | None = None,
) -> None:
    """As `infer_now`, calling back in place of waiting.

    Args:
        service: what runs it.
        call: the request.
        done: called once, as `AnswersSoon.infer_soon` calls it; unless this raises.
        timeout_s: the caller's deadline.
        watch: as of `Tensors.infer_now`.

    Raises:
        ModelNotFoundError: no such model or version.
        InvalidRequestError: the call does not fit the model.
        UnavailableError: not ready.
    """
    _Asked(service, call, done, timeout_s, watch).ask()


class _Asked:
    """A call under way, whose answer is called back: a record, as closures would be cycles."""

    __slots__ = (
        "_again",
        "_call",
        "_done",
        "_prepared",
        "_service",
        "_until_s",
        "_watch",
    )

    def __init__(
        self,
        service: Service,
        call: InferCall,
        done: Answered,
        timeout_s: float | None,
        watch: Watch | None,
    ) -> None:
        self._service = service
        self._call = call
        self._done = done
        self._watch = watch
        self._until_s = _until_s(timeout_s)
        self._prepared = prepare(service, call, timeout_s)
        self._again = True

    def ask(self) -> None:
        """Begins; nothing is raised once it has."""
        self._service.tensors.infer_soon(self._prepared.request, self._told, self._watch)

    def _told(self, outputs: Outputs | Exception) -> None:
        try:
            answer: InferAnswer | Exception
            if not isinstance(outputs, Exception):
                answer = answer_of(self._service, self._call, self._prepared.contract, outputs)
            elif self._asks_successor(outputs):
                self.ask()
                return
            else:
                answer = self._error(outputs)
        except Exception as error:
            answer = error
        self._done(answer)

    def _asks_successor(self, error: Exception) -> bool:
        if not (self._again and isinstance(error, (ModelNotFoundError, UnavailableError))):
            return False
        self._again = False
        found = _successor(self._service, self._call, self._prepared, self._until_s)
        self._prepared = found or self._prepared
        return found is not None

    def _error(self, error: Exception) -> Exception:
        if isinstance(error, DeadlineError) and not _passed(self._until_s):
            return UnavailableError(str(error))  # the queue's timeout, a refusal in Triton
        return error


class Prepared(NamedTuple):
    """A request that fits the version it will run on."""

    contract: Contract
    request: Request


def prepare(service: Service, call: InferCall, timeout_s: float | None = None) -> Prepared:
    """The engine's request, checked against the version that it names.

    Raises:
        ModelNotFoundError: no such model or version.
        UnavailableError: it does not answer.
        InvalidRequestError: the call does not fit the model.
    """
    contract = contracts_of(service).of(call.model, version_of(call.version))
    for wanted in call.outputs:
        check_output(contract, wanted)
    request = Request(
        call.model,
        checked_inputs(contract, call.inputs),
        outputs=tuple(dict.fromkeys([wanted.name for wanted in call.outputs])),
        version=contract.version,
        timeout_s=timeout_s,
        priority=call.priority,
        queue_timeout_s=call.timeout_us / 1e6 if call.timeout_us else None,
    )
    return Prepared(contract, request)


def _successor(
    service: Service, call: InferCall, prepared: Prepared, until_s: float | None
) -> Prepared | None:
    """The request for the version that took the place of the one it was made for.

    A version may be swapped between the check of a request and its run; who asked for the newest
    does not care which one that is. None: it has no successor.
    """
    if call.version:
        return None
    left_s = None if until_s is None else max(until_s - time.monotonic(), MIN_TIMEOUT_S)
    again = prepare(service, call, left_s)
    return None if again.contract.version == prepared.contract.version else again


def _until_s(timeout_s: float | None) -> float | None:
    """The caller's deadline on the clock."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def _passed(until_s: float | None) -> bool:
    return until_s is not None and time.monotonic() >= until_s


def answer_of(
    service: Service, call: InferCall, contract: Contract, outputs: Outputs
) -> InferAnswer:
    """The answer: outputs in the order asked for, else in the configuration's.

    Asked for classes it may read a file, so ask for those on a thread.
    """
    wanted = call.outputs or [WantedOutput(name) for name in contract.outputs if name in outputs]
    return InferAnswer(
        call.model,
        str(contract.version),
        call.id,
        [_output(service, contract, each, outputs[each.name]) for each in wanted],
    )


def _output(
    service: Service, contract: Contract, wanted: WantedOutput, array: NDArray[Any]
) -> InferOutput:
    output = contract.outputs[wanted.name]
    if wanted.classification:
        labels = contracts_of(service).labels(contract, output)
        batched = contract.max_rows > 0
        words = classes(output.datatype, array, wanted.classification, labels, batched=batched)
        return InferOutput(wanted.name, BYTES, words.shape, words, wanted)
    return InferOutput(wanted.name, output.datatype, array.shape, array, wanted)
