"""What an engine is: the thing that runs the graphs of a model repository."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.statistics import ModelStatistics

Tensors = Mapping[str, NDArray[Any]]
Watch = Callable[[Callable[[], None]], object]  # such as grpc's `context.add_callback`
# Told the outputs, or what went wrong: a `KokeshiError`, or whatever a bug raised.
Done = Callable[[dict[str, NDArray[Any]] | Exception], object]


class State(StrEnum):
    """Where a version of a model is on its way to answering."""

    ABSENT = "absent"  # in the repository, and not asked for
    LOADING = "loading"
    BUILDING = "building"  # an engine for this hardware; `ModelStatus.progress` says how far
    WARMING = "warming"
    READY = "ready"
    DEGRADED = "degraded"  # answers, but not as configured; `ModelStatus.reason` says how
    FAILED = "failed"


@dataclass(frozen=True)
class ModelStatus:
    """One version of one model, as the engine has it. Version 0: none could be read."""

    name: str
    version: int
    state: State
    reason: str = ""  # why it failed, is degraded or absent
    card: Card | None = None  # None: it could not be read, or the folder has none
    progress: float | None = None  # in [0, 1], while building

    @property
    def answers(self) -> bool:
        """Whether requests to it are answered."""
        return self.state in {State.READY, State.DEGRADED}


@dataclass(frozen=True, slots=True)
class Request:
    """One request of n rows to one model.

    `inputs` are by name, each (n, ...) with the shape and dtype of the configuration (without its
    own batch axis where `max_batch_size` is 0). TYPE_STRING is an object array of bytes; TYPE_BF16
    travels as uint16.
    """

    model: str
    inputs: Tensors
    outputs: Sequence[str] = ()  # wanted; none means all
    version: int = 0  # 0 is the newest that answers
    timeout_s: float | None = None  # the caller's deadline; a request that waits longer is not run
    priority: int = 0  # 1 is the highest; 0 is the model's default
    # Triton's request parameter `timeout`: how long it may wait in the queue, where the model's
    # queue policy allows the override; what then happens is the policy's `timeout_action`.
    queue_timeout_s: float | None = None


class Engine(Protocol):
    """Runs graphs.

    Every coroutine is called on the event loop that started the engine; what is no coroutine may be
    called from any thread, and all of it but `infer_now` and `file` returns at once.
    """

    @property
    def name(self) -> str:
        """Short name: "embedded", "triton"."""

    async def start(self) -> None:
        """Loads what the repository serves; a model that fails is FAILED, the others serve."""

    async def close(self) -> None:
        """Finishes what runs, refuses what waits."""

    def providers(self) -> Sequence[str]:
        """What executes the graphs, best first."""

    def path(self) -> str:
        """How tensors reach what runs them: "in process", "shared memory", "grpc"."""

    def models(self) -> Sequence[ModelStatus]:
        """Every version that the repository's policies name, by name and version.

        A model that is in the repository and not loaded is ABSENT, one entry with version 0.
        """

    def config(self, model: str, version: int = 0) -> ModelConfig:
        """The configuration of a version that answers; 0 is the newest.

        Raises:
            ModelNotFoundError: no such model or version.
            UnavailableError: it does not answer; the message says its state and progress.
        """

    def pbtxt(self, model: str, version: int = 0) -> str:
        """The whole configuration as the text of a config.pbtxt; raises as `config` does."""

    def card(self, model: str, version: int = 0) -> Card:
        """The card of a version that answers; 0 is the newest.

        Raises:
            ModelNotFoundError: no such model or version.
            UnavailableError: it does not answer; the message says its state and progress.
            WrongTaskError: its folder has no card, so it answers tensors (KServe v2) alone.
        """

    def max_rows(self, model: str, version: int = 0) -> int:
        """Rows that one request may bring, at least 1; raises as `config` does."""

    def file(self, model: str, name: str) -> bytes:
        """A file beside the model's config.pbtxt, such as a tokeniser; blocks, so ask on a thread.

        Raises:
            UnavailableError: the engine has no copy of the folder.
        """

    async def infer(self, request: Request) -> dict[str, NDArray[Any]]:
        """Runs one request, batched with others where the configuration says so.

        A caller that is cancelled while its request waits leaves the queue.

        Returns:
            Each output wanted, (n, ...).

        Raises:
            InvalidRequestError: wrong name, shape or dtype, or too many rows.
            ModelNotFoundError: no such model or version.
            OverloadedError: the queue is full; it says after how long to try again.
            UnavailableError: not ready, or what ran it died.
            DeadlineError: `timeout_s` or the queue's timeout passed.
            InferenceError: the graph failed.
        """

    def infer_now(self, request: Request, watch: Watch | None = None) -> dict[str, NDArray[Any]]:
        """As `infer`, blocking the calling thread, which must not be the event loop's.

        The shortest way to an answer: where nothing else runs, the graph runs on this very thread.

        Args:
            request: see there.
            watch: is called with a function, where the request has to wait; whoever learns that
                the client left calls that, and the request leaves the queue.

        Raises:
            CancelledError: that was called.
        """

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """Loads a model, or loads it again from the repository; returns when it answers.

        Versions that answer go on answering until those that replace them do; where the new ones
        fail, the old ones stay.

        Args:
            model: name.
            config: text of a config.pbtxt to use in place of the folder's.
            files: contents by path under the model's folder ("1/model.onnx") to use in place of
                the folder's; `config` must come with them.

        Raises:
            ModelNotFoundError: the repository has no such folder.
            UnavailableError: it cannot be loaded; the message says why.
        """

    async def unload(self, model: str) -> None:
        """Stops serving a model, after what runs has finished.

        Raises:
            ModelNotFoundError: no such model.
        """

    async def statistics(self, model: str = "", version: int = 0) -> Sequence[ModelStatistics]:
        """What happened so far, of one model or ("") all, of one version or (0) all that answer.

        Raises:
            ModelNotFoundError: no such model or version.
        """

    def counted(self) -> Sequence[ModelStatistics]:
        """The newest statistics that need no waiting, for metrics."""


class AnswersSoon(Protocol):
    """An engine that needs no waiting thread for each request."""

    def infer_soon(self, request: Request, done: Done, watch: Watch | None = None) -> None:
        """As `Engine.infer_now`, for callers who do not wait.

        Where nothing else runs, the graph runs on the calling thread, which must not be the event
        loop's; where something does, this returns at once.

        Args:
            request: see `Engine.infer`.
            done: is called once, on this thread or another that may block for as long as an answer
                takes to be written, with what `infer_now` would return or raise.
            watch: see `Engine.infer_now`; it may be called after `done` was.
        """


def answers_soon(engine: Engine) -> TypeGuard[AnswersSoon]:
    """Whether an engine needs no waiting thread for each request."""
    return hasattr(engine, "infer_soon")


def infer_soon(engine: Engine, request: Request, done: Done, watch: Watch | None = None) -> None:
    """`AnswersSoon.infer_soon` of any engine; one without answers on the calling thread."""
    if answers_soon(engine):
        engine.infer_soon(request, done, watch)
        return
    answer: dict[str, NDArray[Any]] | Exception
    try:
        answer = engine.infer_now(request, watch)
    except Exception as error:
        answer = error
    done(answer)


@dataclass(frozen=True)
class Wanted:
    """Which models an engine loads, by Triton's control modes."""

    mode: str = "none"  # "none": all at the start; "poll": and follow the folder; "explicit"
    poll_s: float = 15.0
    models: Sequence[str] = field(default=())  # explicit: loaded at the start; "*" is all
