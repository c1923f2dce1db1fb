"""What an engine is: the thing that runs the graphs of a model repository."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from numpy.typing import NDArray

from kokeshi.card import Card

Tensors = Mapping[str, NDArray[Any]]


class State(StrEnum):
    """Where a model is on its way to answering."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class ModelStatus:
    """One version of one model, as the engine has it. `card` is None when it could not be read."""

    name: str
    version: int
    state: State
    reason: str = ""  # of a failure
    card: Card | None = None


class Engine(Protocol):
    """Runs graphs. Every call is safe from any task of the event loop that started the engine."""

    @property
    def name(self) -> str:
        """Short name: "embedded"."""

    async def start(self) -> None:
        """Loads what the repository serves; a model that fails is FAILED, the others serve."""

    async def close(self) -> None:
        """Finishes what runs, refuses what waits."""

    def providers(self) -> Sequence[str]:
        """What executes the graphs, best first."""

    def models(self) -> Sequence[ModelStatus]:
        """Every version that the repository's policies name, by name and version."""

    def card(self, model: str, version: int = 0) -> Card:
        """The card of a version that is ready; 0 is the newest.

        Raises:
            ModelNotFoundError: no such model or version.
            UnavailableError: it is not ready; the message says its state.
        """

    def max_rows(self, model: str, version: int = 0) -> int:
        """Rows that one call of `infer` may bring; raises as `card` does."""

    def file(self, model: str, name: str) -> bytes:
        """A file beside the model's config.pbtxt, such as a tokeniser; blocks, so ask on a thread.

        Raises:
            UnavailableError: the engine has no copy of the folder.
        """

    async def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: Sequence[str] = (),
        version: int = 0,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Runs one request of n rows, batched with others where the configuration says so.

        Args:
            model: name.
            inputs: by name, each (n, ...) in the shape and dtype of the card, n at least 1. More
                rows than the model's `max_batch_size` are refused.
            outputs: names wanted; none means all.
            version: 0 is the newest.
            timeout_s: the caller's deadline; a request that waits longer is not run.

        Returns:
            Each output, (n, ...).

        Raises:
            InvalidRequestError: wrong name, shape or dtype, or too many rows.
            ModelNotFoundError: no such model or version.
            OverloadedError: the queue is full.
            UnavailableError: not ready.
            DeadlineError: `timeout_s` passed in the queue.
            InferenceError: the graph failed.
        """
